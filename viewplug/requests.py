"""What a branch reads, and what a view is therefore encoded for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Reads:
    """What a branch reads.

    Attributes:
        neck: the branch whose neck it goes through.
        entry: which entry of a mapping that a backbone returns (``cls``, ``patch``, ``query``); tokens (N, L, D) are
            N L rows for the neck. Other outputs are read as they come, by ``cls`` only.
        masked: only the patches that are masked.
        online_views, target_views: of which views, on either side; None is all that this side sees.
    """

    neck: str
    entry: str = 'cls'
    masked: bool = False
    online_views: tuple[int, ...] | None = None
    target_views: tuple[int, ...] | None = None

    def sees(self, side: str, view: int) -> bool:
        """Whether it reads ``view`` on ``side`` ('online' or 'target')."""
        views = getattr(self, f'{side}_views')
        return views is None or view in views


@dataclass(frozen=True)
class Request:
    """What one view is encoded for.

    Attributes:
        branches: their names.
        extras: arguments of the backbone beside the images, rows by image.
        chosen: (N, L) bool, the patches that masked branches read.
        views: how many views it is about, N / views images each.
    """

    branches: tuple[str, ...]
    extras: dict[str, Tensor] = field(default_factory=dict)
    chosen: Tensor | None = None
    views: int = 1

    @property
    def kind(self) -> tuple:
        """Views of one kind and size can be encoded together."""
        return self.branches, tuple(self.extras), self.chosen is not None

    def tensors(self) -> list[Tensor]:
        """Those with a row for each image."""
        return [*self.extras.values(), *([] if self.chosen is None else [self.chosen])]

    def with_tensors(self, tensors: Iterator[Tensor]) -> Request:
        """The same with others, in the order of :meth:`tensors`."""
        extras = {key: next(tensors) for key in self.extras}
        return Request(self.branches, extras, None if self.chosen is None else next(tensors))


def requests_of(
    reads: Mapping[str, Reads], side: str, takes: set[str], views: Sequence[int], extras: Mapping[str, object]
) -> dict[int, Request]:
    """View -> what ``side`` ('online' or 'target') asks of it.

    Args:
        takes: names of the arguments of the backbone's forward. Queries go to views whose ``query`` entry is read.
            Masks (N, V, h, w) go to the online side's first V views; the target sees images whole.

    Raises:
        ValueError: the batch lacks the queries or masks that a branch reads.
    """
    masks, requests = extras.get('masks'), {}
    for view in views:
        names = tuple(name for name, read in reads.items() if read.sees(side, view))
        asked, chosen = {}, None
        querying = [name for name in names if reads[name].entry == 'query']
        if querying:
            asked['queries'] = _of_batch(extras, 'queries', querying[0], 'viewplug.QueryCrops')
        masked = masks is not None and view < masks.shape[1]
        if masked and side == 'online' and 'masks' in takes:
            asked['masks'] = masks[:, view].flatten(1)
        choosing = [name for name in names if reads[name].masked]
        if choosing:
            _of_batch(extras, 'masks', choosing[0], 'viewplug.BlockMasks')
            if not masked:
                raise ValueError(
                    f'model.branches.{choosing[0]} reads the masked patches of view {view}, but the batch has masks of '
                    f'{masks.shape[1]} views; set its online_views and target_views to views that are masked'
                )
            chosen = masks[:, view].flatten(1)
        requests[view] = Request(names, asked, chosen)
    return requests


def _of_batch(extras: Mapping[str, object], key: str, branch: str, maker: str) -> Tensor:
    if extras.get(key) is None:
        raise ValueError(
            f'model.branches.{branch} needs {key}, and the batch has none: put {maker} into the training pipeline (or '
            'BatchViews)'
        )
    return extras[key]
