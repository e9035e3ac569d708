"""Heat maps read off a backbone while it runs: a CNN's last maps, a ViT's class attention or token norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from viewplug.ops.channels_first import in_torchs_order
from viewplug.ops.heatmap_boxes import channel_sum

KINDS = ('auto', 'features', 'attention', 'token_norm')


class HeatmapProbe:
    """Hands the heat map of every forward of a backbone to ``found`` until it is removed.

    - ``'features'``: the last of the maps (N, C, h, w) that the backbone gives, summed over channels (ContrastiveCrop,
      sec. 3.2).
    - ``'attention'``: how much the class token attends to each patch in the last block, mean over heads.
    - ``'token_norm'``: the length of each patch token behind the last block.
    - ``'auto'``: attention where there is a class token, token norms where a ViT has none, else features.

    A ViT is a module whose ``layers`` (mmpretrain's VisionTransformer and what derives from it) or ``blocks`` (timm's;
    mmpretrain's TIMMBackbone is looked into) hold blocks with ``attn.qkv``, ``attn.num_heads``, a fused projection of
    (query, key, value) x heads x channels, as both libraries write it; ``num_extra_tokens`` or ``num_prefix_tokens``
    says how many tokens come before the patches, the class token first. ``viewplug.QueryViT`` is one; its query tokens,
    which the class token does not see, do not count. Rotary position embeddings, which act
    behind the projection, are not seen: take ``'token_norm'`` there.

    While ``active`` is False it does nothing.

    Args:
        backbone: The module; it is not changed.
        kind: One of the above.
        found: Called with (heat maps (N, h, w) float32 without gradient, images (N, 3, H, W) that went in).

    Raises:
        ValueError: an unknown ``kind``, or one that the backbone cannot give.
    """

    def __init__(self, backbone: nn.Module, kind: str, found: Callable[[Tensor, Tensor], None]) -> None:
        if kind not in KINDS:
            raise ValueError(f'heatmap must be one of {", ".join(KINDS)}, got {kind!r}')
        self.blocks, self.extra, has_class = _transformer(backbone)
        if kind == 'auto':
            kind = 'features' if self.blocks is None else 'attention' if has_class else 'token_norm'
        name = type(backbone).__name__
        if kind in ('attention', 'token_norm') and self.blocks is None:
            raise ValueError(f'heatmap={kind!r} reads transformer blocks with attn.qkv, and {name} has none')
        if kind == 'attention' and not has_class:
            raise ValueError(f"heatmap='attention' needs a class token, and {name} has none; set heatmap='token_norm'")
        self.kind, self.name, self.found = kind, name, found
        self.active = True
        self._inner: Tensor | None = None
        self._handles = [backbone.register_forward_hook(self._end)]
        if kind == 'attention':
            self._handles.append(self.blocks[-1].attn.qkv.register_forward_hook(self._keep))
        elif kind == 'token_norm':
            self._handles.append(self.blocks[-1].register_forward_hook(self._keep))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> HeatmapProbe:
        return self

    def __exit__(self, *error) -> None:
        self.remove()

    def _keep(self, module: nn.Module, inputs, output: Tensor) -> None:
        if self.active:
            self._inner = output.detach()

    @torch.no_grad()
    def _end(self, backbone: nn.Module, inputs, output) -> None:
        if not self.active:
            return
        images = inputs[0]
        inner, self._inner = self._inner, None
        if self.kind == 'features':
            self.found(channel_sum(self._last_maps(in_torchs_order(backbone, output)).detach()), images)
            return
        if inner is None:
            raise ValueError(f'heatmap={self.kind!r}: the last block of {self.name} did not run in its forward')
        if isinstance(output, Mapping) and 'query' in output:  # QueryViT has its queries behind the patches
            inner = inner[:, : self.extra + output['patch'].shape[1]]
        if self.kind == 'attention':
            self.found(_as_grid(class_attention(self.blocks[-1].attn, inner, self.extra), images), images)
        else:
            norms = inner[:, self.extra :].float().norm(dim=2)
            self.found(_as_grid(norms, images), images)

    def _last_maps(self, output) -> Tensor:
        output = list(output.values()) if isinstance(output, Mapping) else output
        maps = [output] if isinstance(output, Tensor) else list(output)
        while maps and isinstance(maps[-1], tuple | list):
            maps = list(maps[-1])
        if not maps or maps[-1].dim() != 4:
            shape = tuple(maps[-1].shape) if maps else None
            raise ValueError(
                f"heatmap='features' needs maps (N, C, h, w) from the backbone, and the last output of {self.name} has "
                f"the shape {shape}; for a ViT set heatmap='attention' or 'token_norm', for mmpretrain's ConvNeXt "
                'gap_before_final_norm=False'
            )
        return maps[-1]


def class_attention(attn: nn.Module, qkv: Tensor, extra: int) -> Tensor:
    """Attention of the class token to the patches, mean over heads.

    Args:
        attn: The attention module: ``num_heads`` and, where they exist, timm's ``q_norm`` and ``k_norm``.
        qkv: (N, L, 3 * heads * channels), what its projection gave.
        extra: Tokens before the patches, the class token first.

    Returns:
        (N, L - extra) float32; with the share of the extra tokens a row sums to 1.
    """
    number, length, _ = qkv.shape
    query, key, _ = qkv.reshape(number, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    query = getattr(attn, 'q_norm', nn.Identity())(query)[:, :, :1].float()
    key = getattr(attn, 'k_norm', nn.Identity())(key).float()
    weights = (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).softmax(dim=-1)
    return weights[:, :, 0, extra:].mean(dim=1)


def _transformer(backbone: nn.Module) -> tuple[nn.Module | None, int, bool]:
    """The blocks of a ViT, its tokens before the patches, whether the first is a class token; None for others."""
    backbone = getattr(backbone, 'timm_model', backbone)
    for name in ('layers', 'blocks'):
        blocks = getattr(backbone, name, None)
        if isinstance(blocks, nn.ModuleList | nn.Sequential) and len(blocks):
            attn = getattr(blocks[-1], 'attn', None)
            if hasattr(attn, 'qkv') and hasattr(attn, 'num_heads'):
                extra = getattr(backbone, 'num_extra_tokens', getattr(backbone, 'num_prefix_tokens', 1))
                return blocks, extra, getattr(backbone, 'cls_token', None) is not None
    return None, 0, False


def _as_grid(tokens: Tensor, images: Tensor) -> Tensor:
    """(N, h * w) -> (N, h, w), in the proportion of the images."""
    height, width = images.shape[-2:]
    rows = round((tokens.shape[1] * height / width) ** 0.5)
    columns = tokens.shape[1] // max(rows, 1)
    if rows * columns != tokens.shape[1] or not rows:
        raise ValueError(
            f'{tokens.shape[1]} patch tokens of an image of {height} x {width} px make no grid in that proportion: the '
            "number of tokens before the patches is not what the backbone's num_extra_tokens or num_prefix_tokens says"
        )
    return tokens.view(-1, rows, columns)
