"""Views cut and augmented a batch at a time, where the model is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from torch import Tensor

from viewplug.argument_kinds import fits
from viewplug.batch_views.data_preprocessor import ViewsDataPreprocessor
from viewplug.batch_views.operator import check_prob, uniform
from viewplug.batch_views.padding import padded
from viewplug.batch_views.view import View
from viewplug.block_masking import BlockMasking
from viewplug.registry import MODELS
from viewplug.transforms.view_record import unknown_geometry
from viewplug.views import ViewGeometry, sample_idx_of


@MODELS.register_module()
class BatchViews(ViewsDataPreprocessor):
    """A data preprocessor that makes all views of a batch of whole uint8 images on the model's device.

    It stands in for ``MultiView`` in the pipeline and for mmpretrain's ``SelfSupDataPreprocessor`` at once; the
    operators, their arguments and distributions are those of the per-sample pipeline, with parameters of its own for
    every sample. ``viewplug.batch_views.to_device_views`` moves a config over (``views='device'``).

    Random numbers are drawn on the CPU from (torch's seed, rank, number of the batch), so that CPU and GPU cut the same
    views, and a resumed run those of the unbroken one: the number travels in the checkpoint.

    Args:
        transforms: one list of transform configs per kind of view, as ``MultiView`` takes them.
        num_views: how many views of each kind; an int where there is one kind. Kinds may differ in size (multi-crop).
        shared_flip: chance that all views of an image are mirrored together (beside flips of their own, so leave
            RandomFlip out of ``transforms`` for views that are mirrored together only).
        queries: dict(num=Q, transforms=[...]), small crops beside the views (ADCLR): they come as ``queries``
            (N, Q, 3, p, p), normalised as the views are, with ``query_boxes`` (N, Q, 4). Never mirrored with the views.
        masks: dict(num_views=V, grid=..., ...), which patches of the first V views are masked (iBOT), settings as in
            ``viewplug.block_masking.BlockMasking``: they come as ``masks`` (N, V, h, w) bool, on the CPU.
        **kwargs: ``mean``, ``std``, ``to_rgb``, ``non_blocking`` of SelfSupDataPreprocessor.

    Raises:
        ValueError: as many numbers of views as kinds are needed; an operator or argument it does not know.
    """

    def __init__(
        self,
        transforms: Sequence[Sequence[dict]],
        num_views: int | Sequence[int],
        shared_flip: float = 0.0,
        queries: dict | None = None,
        masks: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        counts = [num_views] if isinstance(num_views, int) else list(num_views)
        if len(counts) != len(transforms):
            raise ValueError(
                f'data_preprocessor.num_views={num_views}, but data_preprocessor.transforms has {len(transforms)} '
                'pipelines: give one number of views for each'
            )
        self.views, self.counts = [View(pipeline) for pipeline in transforms], counts
        if min(counts, default=0) < 1:
            raise ValueError(f'data_preprocessor.num_views must be at least 1, got {num_views}')
        self.unknown = None
        for place, view in enumerate(self.views):
            if view.unknown and self.unknown is None:
                where = f'data_preprocessor, transforms[{place}] of viewplug.BatchViews'
                self.unknown = unknown_geometry(where, view.unknown)
        self.shared_flip = check_prob('data_preprocessor.shared_flip', shared_flip)
        self.queries = None
        if queries is not None:
            if set(queries) != {'num', 'transforms'}:
                raise ValueError(f'data_preprocessor.queries takes num and transforms, got {", ".join(queries)}')
            self.queries = View(queries['transforms'])
            self.num_queries = queries['num']
            if not fits(self.num_queries, int) or self.num_queries < 1:
                raise ValueError(f'data_preprocessor.queries.num must be at least 1, got {self.num_queries!r}')
        self.masked_views, self.masking = 0, None
        if masks is not None:
            settings = dict(masks)
            self.masked_views = settings.pop('num_views', 2)
            if not 1 <= self.masked_views <= sum(counts):
                raise ValueError(
                    f'data_preprocessor.masks: num_views={self.masked_views}, but there are {sum(counts)} views to mask'
                )
            self.masking = BlockMasking(**settings)
        self.batches = 0

    @torch.compiler.disable  # which takes numpy for torch, and fails to shift unsigned numbers
    def forward(self, data: dict, training: bool = False) -> dict:
        """
        Args:
            data: ``inputs`` (N, 3, H, W) uint8, or N images (3, H_i, W_i) of any size; ``data_samples``,
                ``sample_idx`` and whatever else goes through as by ViewsDataPreprocessor. Images of several sizes are
                padded to the largest, in groups of like size where a batch would be mostly padding
                (``padding.PADDED_AT_MOST``); a Resize in the pipeline of a folder of photographs saves that. Without
                ``training`` tensors (N, 3, H, W) are normalised only.

        Returns:
            ``data`` with ``inputs`` as V normalised float32 views (N, 3, h_v, w_v), ``geometry`` (unknown if a step of
            a view turns it), and ``sample_idx`` where it is known.
        """
        if not training:
            return super().forward(dict(inputs=data['inputs'], data_samples=data.get('data_samples')), training)
        sample_idx = sample_idx_of(data)
        n = len(data['inputs'])
        if not isinstance(data['inputs'], Tensor):
            data = {key: _stacked(key, value, n) for key, value in data.items()}
        data = self.cast_data(data)
        images, sizes = data['inputs'], None
        if not isinstance(images, Tensor):
            images, sizes = padded(images)
        self.warn_of_raw(images)
        key = np.random.SeedSequence([torch.initial_seed(), get_rank(), self.batches]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(key[0] >> np.uint64(1)))
        self.batches += 1
        mirrored = uniform(n, generator) < self.shared_flip if self.shared_flip else None
        common = dict(batch=images, sizes=sizes, generator=generator, sample_idx=sample_idx, finish=self._normalised)
        made = [
            view.many(count, mirrored=mirrored, **common) for view, count in zip(self.views, self.counts, strict=True)
        ]
        inputs = [view for views, _, _ in made for view in views]
        boxes, flips = (torch.cat(column).transpose(0, 1) for column in list(zip(*made, strict=True))[1:])
        geometry = ViewGeometry(boxes[:, :0] if self.unknown else boxes, flips, self.unknown)
        result = {'data_samples': None, **data, 'inputs': inputs, 'geometry': geometry}
        if sample_idx is not None:
            result['sample_idx'] = sample_idx
        if self.queries is not None:
            queries, query_boxes, _ = self.queries.many(self.num_queries, **common)
            result |= dict(queries=queries.transpose(0, 1), query_boxes=query_boxes.transpose(0, 1))
        if self.masking is not None:
            drawn = self.masking.draw(n * self.masked_views, functools.partial(uniform, generator=generator))
            result['masks'] = torch.as_tensor(drawn).unflatten(0, (n, self.masked_views))
        return result

    def _normalised(self, view: Tensor) -> Tensor:
        if self._channel_conversion:
            view = view.flip(1)
        return view.sub_(self.mean).div_(self.std) if self._enable_normalize else view

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.batches)

    def set_extra_state(self, state: Tensor) -> None:
        self.batches = int(state)


def _stacked(key: str, value: Any, n: int) -> Any:
    """What travels beside ``n`` images of several sizes, which are not collated, as one tensor (N, ...)."""
    if key in ('inputs', 'data_samples') or not isinstance(value, list) or len(value) != n:
        return value
    alike = all(isinstance(one, Tensor) and one.shape == value[0].shape for one in value)
    return torch.stack(value) if alike else value
