"""ReSim's comparison: the same window of two views, against windows everywhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn
from torch.nn import functional as F

from viewplug.encoding import unpacked
from viewplug.heads.region_windows import WindowGrid, maps_of_tokens
from viewplug.losses import CosineLoss, InfoNCELoss
from viewplug.losses.info_nce_of_rows import weighted_info_nce
from viewplug.ops import at_least_float32, gather_rows
from viewplug.ops.gather import gather_rows_with_grad
from viewplug.registry import MODELS
from viewplug.views import ViewGeometry


@MODELS.register_module()
class RegionHead(BaseModule):
    r"""Similarity of regions (ReSim, sec. 3.3 and 3.4, eq. 1 and 2), on the maps of ``viewplug.RegionNeck``.

    Windows are slid over the query view; those wholly inside the overlap of both views count. Each is pooled to one
    vector from both views' maps, and the vectors are L2-normalised. With InfoNCE the positive is the same window in the
    key view; the negatives are the key maps of the whole batch, average-pooled at stride 1 and normalised, also those
    of the query's own image (app. A.1: 12 x 12 x 256 = 36,864 at C4). With the cosine (SimSiam, BYOL) there are none,
    and the target's gradient is stopped.

    The loss is the mean over the windows that count in the batches of all processes, so that an image with few of them
    weighs little, and none (or a batch with none) nothing. Equations 2 and 4 lack the -log that is meant. Similarities
    are computed for a few windows at a time, never kept. A predictor sees all windows of the query view, also those
    that do not count, so its batch norm needs no count of them.

    ``window``, ``stride``, ``downsample``, ``gather``, ``negative_kernel`` and ``predictor`` are one value, or one for
    each of the neck's ``stages`` in their order; the losses of several levels are added.

    Args:
        window, stride: side of a window and step between windows, pixels. The paper has 48 and 32 on C4/P4, 32 and 24
            on P3; its Table 3 also 48/16 and 64/48.
        downsample: pixels per position of the map, the stride of its stage: 16 on C4/P4, 8 on P3.
        gather: whether the negatives are those of all processes (C4/P4) or of this one (P3). app. A.1.
        negative_kernel: side of the average pooling. The paper's rule, window / downsample, would give 4 on P3; its
            numbers (26 x 26) are those of 3.
        loss: config or instance of ``viewplug.InfoNCELoss`` (the image loss's temperature; default) or
            ``viewplug.CosineLoss``.
        predictor: config or instance of a module on (N, D) for the queries, such as ``viewplug.MLPNeck``; with the
            cosine. ``in_channels`` and ``out_channels`` that a config leaves out are ``feat_dim``.
        feat_dim: channels of the maps. Left out, ``viewplug.Siamese`` fills it in from the neck.
        input_size: side of the (square) views, pixels.
        pool: 'prroi' (Precise RoI Pooling), or 'roi_align' (sec. 4.1's comparison).
        aligned: a position of the map stands for the middle of its cell of ``downsample`` pixels, so that two views of
            different scale or mirror image meet exactly. False: for the cell's corner, as Precise RoI Pooling is
            defined; the two views then disagree by up to half a cell, by a whole one if one of them is mirrored.

    Raises:
        ValueError: windows that do not fit the view, an unknown ``pool`` or loss, a predictor with InfoNCE, numbers of
            levels that differ; at a batch, maps of another size or views whose geometry is not known.
    """

    def __init__(
        self,
        window: int | Sequence[int] = 48,
        stride: int | Sequence[int] = 32,
        downsample: int | Sequence[int] = 16,
        gather: bool | Sequence[bool] = True,
        negative_kernel: int | Sequence[int] = 3,
        loss: dict | nn.Module | None = None,
        predictor: dict | nn.Module | Sequence | None = None,
        feat_dim: int | Sequence[int] | None = None,
        input_size: int = 224,
        pool: str = 'prroi',
        aligned: bool = True,
        init_cfg=None,
    ) -> None:
        super().__init__(init_cfg)
        values = dict(
            window=window,
            stride=stride,
            downsample=downsample,
            gather=gather,
            negative_kernel=negative_kernel,
            feat_dim=feat_dim,
            predictor=predictor,
        )
        levels = _per_level(values)
        self.grids = [
            WindowGrid(level['window'], level['stride'], level['downsample'], input_size, pool, aligned)
            for level in levels
        ]
        self.gather = [level['gather'] for level in levels]
        self.negative_kernel = [level['negative_kernel'] for level in levels]
        self.feat_dim = tuple(feat_dim) if isinstance(feat_dim, tuple | list) else feat_dim
        self.widths = [level['feat_dim'] for level in levels]
        for grid, kernel in zip(self.grids, self.negative_kernel, strict=True):
            if not 1 <= kernel <= grid.map_size:
                raise ValueError(
                    f'RegionHead: negative_kernel={kernel} does not fit a map of {grid.map_size} x {grid.map_size} '
                    f'positions (input_size={input_size}, downsample={grid.downsample})'
                )
        loss = loss or dict(type='viewplug.InfoNCELoss')
        self.loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        if type(self.loss_module).forward not in (InfoNCELoss.forward, CosineLoss.forward):  # another is not called
            raise ValueError(
                'RegionHead: loss must be viewplug.InfoNCELoss or viewplug.CosineLoss itself, of which it takes the '
                f'numbers and computes the loss in its own way, got {type(self.loss_module).__name__}'
            )
        if predictor is not None and not isinstance(self.loss_module, CosineLoss):
            raise ValueError('RegionHead: a predictor goes with viewplug.CosineLoss, not with viewplug.InfoNCELoss')
        self.predictors = None
        if predictor is not None:
            self.predictors = ModuleList(_built(level['predictor'], level['feat_dim']) for level in levels)

    def loss(
        self,
        online: Tensor,
        target: Tensor,
        geometry: ViewGeometry | None = None,
        pair: tuple[int, int] = (0, 1),
        **extras,
    ) -> dict[str, Tensor]:
        """
        Args:
            online: (N, P, D) maps of the query view as tokens, of all levels (see ``viewplug.RegionNeck``), not
                normalised. N must be the same on every process.
            target: (N, P, D) of the key view of the same images.
            geometry: where the views were cut.
            pair: which of the views in ``geometry`` are query and key.

        Returns:
            ``loss``: scalar; its mean over processes is the loss of the global batch. ``valid_windows``: how many
            windows an image had that count, on all levels, over the global batch.
        """
        if geometry is None:
            raise ValueError(
                'RegionHead needs to know where the views were cut: make them with viewplug.MultiView around '
                'viewplug.RandomResizedCrop or viewplug.ContrastiveCrop, and let PackInputs(meta_keys=...) keep '
                "'crop_box' and 'flip'"
            )
        matches = [grid.match(geometry, *pair) for grid in self.grids]
        counts = torch.stack([valid.sum() for *_, valid in matches]).to(torch.float32)
        all_reduce(counts)
        total = 0
        for level, match in enumerate(matches):
            total = total + self._level_loss(level, online, target, *match, counts[level])
        return {'loss': total, 'valid_windows': counts.sum() / (len(online) * get_world_size())}

    def _level_loss(self, level: int, online: Tensor, target: Tensor, columns, rows, valid, count) -> Tensor:
        grid, contrast = self.grids[level], isinstance(self.loss_module, InfoNCELoss)
        sides = (online, target if contrast else target.detach())
        query_map, key_map = (maps_of_tokens(side, self.grids, level, self.widths[level]) for side in sides)
        own = grid.spans(columns).expand(len(columns), -1, -1)
        queries = grid.pooled(query_map, own, own).flatten(0, 2)
        if self.predictors is not None:
            queries = at_least_float32(unpacked(self.predictors[level]((queries,))))
        with torch.autocast(online.device.type, enabled=False):
            queries = F.normalize(queries, dim=1)
            keys = F.normalize(grid.pooled(key_map, columns, rows).flatten(0, 2), dim=1)
            # The mean over W processes of their windows' sum times W / count is the mean over all windows.
            weights = valid.flatten().to(queries.dtype) * (get_world_size() / count.to(queries.dtype).clamp_min(1))
            if contrast:
                negatives = self._negatives(key_map, level)
                return weighted_info_nce(queries, keys, negatives, weights, self.loss_module.temperature)
            cosine = (queries * keys).sum(dim=1)
            return (weights * (self.loss_module.shift - self.loss_module.scale * cosine)).sum()

    def _negatives(self, key_map: Tensor, level: int) -> Tensor:
        rows = F.avg_pool2d(key_map, self.negative_kernel[level], stride=1).flatten(2).transpose(1, 2).flatten(0, 1)
        rows = F.normalize(rows, dim=1)
        if not self.gather[level]:
            return rows
        return gather_rows_with_grad(rows) if rows.requires_grad else gather_rows(rows)


def _per_level(values: dict) -> list[dict]:
    """One dict for each level from values that are of one or of each."""
    lengths = {key: len(value) for key, value in values.items() if isinstance(value, tuple | list)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'RegionHead: one value for each stage is needed, got {lengths}')
    count = max(lengths.values(), default=1)
    return [{key: value[i] if key in lengths else value for key, value in values.items()} for i in range(count)]


def _built(predictor: dict | nn.Module, feat_dim: int | None) -> nn.Module:
    if isinstance(predictor, nn.Module):
        return predictor
    widths = {} if feat_dim is None else dict(in_channels=feat_dim, out_channels=feat_dim)
    missing = {'in_channels', 'out_channels'} - set(predictor) - set(widths)
    if missing:
        raise ValueError(f"RegionHead needs feat_dim, the neck's out_channels, or predictor.{sorted(missing)[0]}")
    return MODELS.build({**widths, **predictor})
