"""Images that a data set puts in the place of ones it cannot read: right in training, not counted in evaluation."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any

from mmengine.dataset import BaseDataset
from torch.utils.data import ConcatDataset, DataLoader, Dataset

MARK = 'stand_in'
"""Meta information of a sample that is another image than the one asked for."""


class MarkedImages(Dataset):
    """Another data set, whose ``data_samples`` have the meta information ``stand_in`` where the image is not its own.

    It is told by ``sample_idx``, as mmengine's ``BaseDataset`` counts and PackInputs passes on by default; a pipeline
    whose ``meta_keys`` lack it hides stand-ins. Build it with :func:`marked`.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def metainfo(self) -> dict:
        return getattr(self.dataset, 'metainfo', {})

    def full_init(self) -> None:
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        sample = self.dataset[index]
        packed = sample.get('data_samples') if isinstance(sample, dict) else None
        given, asked = getattr(packed, 'sample_idx', None), _place(self.dataset, index)
        if given is not None and asked is not None and given != asked:
            packed.set_metainfo({MARK: True})
        return sample


def marked(dataset: Dataset) -> Dataset:
    """``dataset`` as :class:`MarkedImages`, or itself where nothing in it replaces images or it gives whole batches."""
    if isinstance(dataset, ConcatDataset):
        return MarkedImages(dataset) if any(marked(part) is not part for part in dataset.datasets) else dataset
    return MarkedImages(dataset) if len(dataset) and _place(dataset, 0) is not None else dataset


def is_stand_in(sample: Any) -> bool:
    """Of one of ``data_samples``, or a dict of its fields."""
    return bool(sample.get(MARK, False)) if hasattr(sample, 'get') else False


def with_dataset(loader: DataLoader, dataset: Dataset, collate_fn: Callable | None = None) -> DataLoader:
    """The same loader of another data set of the same length."""
    names = ('num_workers', 'pin_memory', 'worker_init_fn', 'multiprocessing_context', 'persistent_workers')
    kept = {name: getattr(loader, name) for name in (*names, 'prefetch_factor')}
    if loader.batch_sampler is None:
        kept.update(batch_size=None, sampler=loader.sampler)
    elif loader.batch_size is None:
        kept.update(batch_sampler=loader.batch_sampler)
    else:
        kept.update(batch_size=loader.batch_size, sampler=loader.sampler, drop_last=loader.drop_last)
    return DataLoader(dataset, collate_fn=collate_fn or loader.collate_fn, **kept)


def without_stand_ins(loader: DataLoader) -> DataLoader:
    """``loader`` with smaller batches where there are stand-ins, None for one of nothing else."""
    return with_dataset(loader, marked(loader.dataset), CollateReadable(loader.collate_fn))


class CollateReadable:
    """A ``collate_fn`` that leaves marked samples out; it gives None where no other is there."""

    def __init__(self, collate_fn: Callable) -> None:
        self.collate_fn = collate_fn

    def __call__(self, batch: Sequence) -> Any:
        if isinstance(batch, dict):  # of a loader with batch_size=None: one sample, or a whole batch of the data set
            return None if is_stand_in(batch.get('data_samples')) else self.collate_fn(batch)
        kept = [sample for sample in batch if not is_stand_in(sample.get('data_samples'))]
        return self.collate_fn(kept) if kept else None


def left_out(number: int, total: int, where: str) -> str:
    """The sentence for a log."""
    return (
        f'{number} of {total} images of {where} cannot be read: {"they are" if number > 1 else "it is"} left out, not '
        'counted by the image in its place'
    )


def _place(dataset: Dataset, index: int) -> int | None:
    """Where the leaf that an image comes from has it; None if a wrapper does not say."""
    while not isinstance(dataset, BaseDataset):
        if hasattr(dataset, '_get_ori_dataset_idx'):  # mmengine's wrappers
            found = dataset._get_ori_dataset_idx(index)
            dataset, index = (
                (dataset.datasets[found[0]], found[1]) if isinstance(found, tuple) else (dataset.dataset, found)
            )
        elif isinstance(dataset, ConcatDataset):  # torch's
            part = bisect.bisect_right(dataset.cumulative_sizes, index)
            index -= dataset.cumulative_sizes[part - 1] if part else 0
            dataset = dataset.datasets[part]
        elif hasattr(dataset, 'indices') and hasattr(dataset, 'dataset'):  # torch's Subset
            dataset, index = dataset.dataset, dataset.indices[index]
        else:
            return None
    return int(index)
