"""A plain timm ViT that reads query patches beside its image (ADCLR), and masked patches (iBOT)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.model.weight_init import initialize
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from viewplug.backbones.query_block import QueryBlock
from viewplug.backbones.timm_vit import plain_timm_vit
from viewplug.registry import MODELS


@MODELS.register_module()
class QueryViT(VisionTransformer):
    """timm's VisionTransformer of any size and patch; query patches attend to the image, the image not to them.

    ADCLR (Patch-level contrasting without patch correspondence, ICLR 2023), sec. 1: RP -> RP, {RP, QP_i} -> QP_i.
    Queries go through the same patch embedding and blocks, so there are no parameters beside the ViT's: the state dict
    is that of ``timm.create_model(model_name, num_classes=0)``, and its files (the released DINO weights among them)
    load, position embeddings of another image size resized. Images of any size that the patch divides go in (DINO's
    96-pixel local crops).

    Args:
        model_name: of a VisionTransformer with a class token in timm, e.g. 'vit_small_patch16_224', registers or not.
        query_attention: 'cross', the one-way attention, whose cost grows with Q x L; or 'full', plain self-attention
            among raw and query tokens, against which the paper compares it: it changes the raw tokens' outputs.
        query_pos: position embedding of the queries. The paper's excerpt names none: None is our choice; 'mean' adds
            the mean of the patches' embeddings, the same for all queries.
        mask_token: have one, for masked images (iBOT, arXiv:2111.07832); starts at zero, as theirs.
        out: what a forward returns.

            - 'mapping': dict with ``cls`` (N, D), ``patch`` (N, L, D) and, with queries, ``query`` (N, Q, D), behind
              the final norm.
            - 'maps': tuple with a map (N, D, h, w) for each of ``out_indices``, for detectors; the final norm on the
              last block's only, as mmpretrain's.
            - 'cls': 1-tuple with the class tokens of the blocks ``out_indices``, each behind the final norm, side by
              side, (N, B * D), for linear probes: DINO takes the last four blocks of a ViT-S.
            - 'cls_mean': the same and the mean of the last block's patch tokens, (N, (B + 1) * D); DINO has it, with
              one block, for a ViT-B.
        out_indices: blocks, counted from the end where negative.
        init_cfg: mmengine's, e.g. ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')``.
        **kwargs: timm's: ``img_size`` (of the position embeddings), ``drop_path_rate``, ``patch_size``, ``depth``,
            ``pretrained``, ``checkpoint_path``, ...

    Raises:
        ValueError: another kind of model, no class token, an unknown choice; in a forward, sizes that do not fit.
    """

    def __init__(
        self,
        model_name: str = 'vit_small_patch16_224',
        query_attention: Literal['cross', 'full'] = 'cross',
        query_pos: Literal['mean'] | None = None,
        mask_token: bool = False,
        out: Literal['mapping', 'maps', 'cls', 'cls_mean'] = 'mapping',
        out_indices: Sequence[int] = (-1,),
        init_cfg: dict | list | None = None,
        **kwargs,
    ) -> None:
        nn.Module.__init__(self)
        vit = plain_timm_vit(model_name, kwargs)
        self.__dict__.update(vit.__dict__)  # timm knows the sizes behind a name only inside the function that builds it
        depth = len(self.blocks)
        if not out_indices or not all(-depth <= index < depth for index in out_indices):
            raise ValueError(f'QueryViT: out_indices must name some of {depth} blocks, got {out_indices}')
        if out == 'mapping' and tuple(out_indices) != (-1,):
            raise ValueError(f"QueryViT: out_indices={out_indices} is for out='maps' or 'cls', not out='mapping'")
        if query_attention == 'cross':
            for block in self.blocks:
                QueryBlock.adopt(block)
        self.query_attention, self.query_pos, self.out = query_attention, query_pos, out
        self.out_indices = tuple(index % depth for index in out_indices)
        if mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        self.init_cfg = copy.deepcopy(init_cfg)
        # mmengine initialises what is not marked, and would wipe weights that are loaded already.
        self.is_init = bool(kwargs.get('pretrained') or kwargs.get('checkpoint_path'))

    def init_weights(self, *args, **kwargs) -> None:
        """timm's initialisation, then ``init_cfg``; nothing where weights came with the construction."""
        if self.is_init:
            return
        super().init_weights(*args, **kwargs)
        if hasattr(self, 'mask_token'):
            nn.init.zeros_(self.mask_token)
        if self.init_cfg:
            initialize(self, self.init_cfg)
        self.is_init = True

    def no_weight_decay(self) -> set[str]:
        return super().no_weight_decay() | {'mask_token'}

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter and number of depths, for mmpretrain's layer-wise learning rates.

        0 is the embedding, then come the blocks, and last what stands behind them, a classifier's head too.
        """
        number = len(self.blocks) + 2
        name = param_name.removeprefix(prefix)
        if param_name.startswith(prefix) and name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1, number
        embeds = ('cls_token', 'pos_embed', 'patch_embed', 'mask_token', 'reg_token', 'norm_pre')
        return (0 if param_name.startswith(prefix) and name.startswith(embeds) else number - 1), number

    def forward(self, images: Tensor, queries: Tensor | None = None, masks: Tensor | None = None):
        """
        Args:
            images: (N, 3, H, W).
            queries: (N, Q, 3, p, p), p the patch size; only for ``out='mapping'``.
            masks: (N, L) or (N, h, w) bool, True where the mask token replaces the patch.

        Returns:
            See ``out``.
        """
        if queries is not None and self.out != 'mapping':
            raise ValueError(f"QueryViT: queries come out of out='mapping' only, got out={self.out!r}")
        tokens, grid = self._embedded(images, masks)
        length, number = tokens.shape[1], 0
        if queries is not None and queries.shape[1]:
            number = queries.shape[1]
            tokens = torch.cat([tokens, self._embedded_queries(queries, len(images))], dim=1)
        kept = self._through_blocks(tokens, number)
        if self.out == 'maps':
            return tuple(self._as_map(tokens, index, grid) for index, tokens in kept.items())
        kept = [self.norm(tokens) for tokens in kept.values()]
        if self.out == 'mapping':
            prefix, last = self.num_prefix_tokens, kept[-1]
            found = dict(cls=last[:, 0], patch=last[:, prefix:length])
            return found if queries is None else dict(found, query=last[:, length:])
        vectors = [tokens[:, 0] for tokens in kept]
        if self.out == 'cls_mean':
            vectors.append(kept[-1][:, self.num_prefix_tokens :].mean(dim=1))
        return (torch.cat(vectors, dim=1),)

    def _embedded(self, images: Tensor, masks: Tensor | None) -> tuple[Tensor, tuple[int, int]]:
        """Tokens (N, prefix + L, D) of the images, as timm makes them, and the grid of patches."""
        sides = self.patch_embed.patch_size
        if any(size % side for size, side in zip(images.shape[-2:], sides, strict=True)):
            raise ValueError(
                f'QueryViT: images of {tuple(images.shape[-2:])} px are no whole number of patches of {sides} px; '
                "change their size: the views' scale, or patch_size of viewplug.PatchGrid"
            )
        patches = self.patch_embed(images)  # (N, h, w, D)
        grid = tuple(patches.shape[1:3])
        if masks is not None:
            patches = torch.where(self._mask_grid(masks, patches), self.mask_token.to(patches.dtype), patches)
        return self.norm_pre(self.patch_drop(self._pos_embed(patches))), grid

    def _mask_grid(self, masks: Tensor, patches: Tensor) -> Tensor:
        if not hasattr(self, 'mask_token'):
            raise ValueError('QueryViT: masks need a mask token; set backbone.mask_token=True')
        grid = tuple(patches.shape[:3])
        flat = (grid[0], grid[1] * grid[2])
        if tuple(masks.shape) not in (grid, flat) or masks.dtype != torch.bool:
            raise ValueError(
                f'QueryViT: masks of {grid[0]} images of {grid[1]} x {grid[2]} patches are bool {grid} or {flat}, got '
                f'{masks.dtype} {tuple(masks.shape)}; check the grid of the masks'
            )
        return masks.reshape(*grid, 1)

    def _embedded_queries(self, queries: Tensor, number: int) -> Tensor:
        """Tokens (N, Q, D) of the query patches, through the patch embedding of the image."""
        sides = self.patch_embed.patch_size
        if queries.dim() != 5 or len(queries) != number or tuple(queries.shape[-2:]) != tuple(sides):
            raise ValueError(
                f'QueryViT: queries of {number} images are ({number}, Q, 3, {sides[0]}, {sides[1]}), the size of a '
                f'patch, got {tuple(queries.shape)}; check the size of the query crops'
            )
        tokens = self.patch_embed(queries.flatten(0, 1)).view(number, queries.shape[1], -1)
        if self.query_pos == 'mean' and self.pos_embed is not None:
            tokens = tokens + self.pos_embed[:, self._unplaced :].mean(dim=1, keepdim=True)
        return self.norm_pre(tokens)

    def _through_blocks(self, tokens: Tensor, num_queries: int) -> dict[int, Tensor]:
        """Block -> its output, of ``out_indices`` in their order."""
        options = (num_queries,) if self.query_attention == 'cross' else ()
        outputs = {}
        for index, block in enumerate(self.blocks):
            if self.grad_checkpointing and self.training:
                tokens = checkpoint(block, tokens, *options, use_reentrant=False)
            else:
                tokens = block(tokens, *options)
            if index in self.out_indices:
                outputs[index] = tokens
        return {index: outputs[index] for index in self.out_indices}

    def _as_map(self, tokens: Tensor, index: int, grid: tuple[int, int]) -> Tensor:
        tokens = self.norm(tokens) if index == len(self.blocks) - 1 else tokens
        return tokens[:, self.num_prefix_tokens :].transpose(1, 2).unflatten(2, grid).contiguous()

    @property
    def _unplaced(self) -> int:
        """Rows of ``pos_embed`` before those of the patches."""
        return 0 if self.no_embed_class else self.num_prefix_tokens

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        saved = state_dict.get(f'{prefix}pos_embed')
        if saved is not None and self.pos_embed is not None and saved.shape != self.pos_embed.shape:
            side = math.isqrt(max(saved.shape[1] - self._unplaced, 0))
            if side**2 + self._unplaced == saved.shape[1]:  # of a square image; else torch says what does not fit
                grid = list(self.patch_embed.grid_size)
                resized = resample_abs_pos_embed(saved, grid, [side, side], num_prefix_tokens=self._unplaced)
                state_dict[f'{prefix}pos_embed'] = resized
        super()._load_from_state_dict(state_dict, prefix, *args)
