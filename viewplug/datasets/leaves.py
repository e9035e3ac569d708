"""From a data set as the loader sees it down to the data sets that hold the images."""

from typing import Any

from mmengine.dataset import BaseDataset


def leaf_datasets(dataset: Any) -> list:
    """The data sets without wrappers inside ``dataset``, each once, in the order in which the wrappers name them.

    Follows ``.datasets`` (mmengine's and torch's ConcatDataset), ``.dataset`` (RepeatDataset, ClassBalancedDataset,
    KFoldDataset, torch's Subset, a DataLoader) and ``._dataset`` (the slice that the runner's
    ``num_batch_per_epoch`` makes). An mmengine ``BaseDataset`` always counts as a leaf, whatever it holds.
    """
    leaves: list = []
    _collect(dataset, leaves, set())
    return leaves


def _collect(dataset: Any, leaves: list, seen: set[int]) -> None:
    if id(dataset) in seen:
        return
    seen.add(id(dataset))
    children = [] if isinstance(dataset, BaseDataset) else _children(dataset)
    for child in children:
        _collect(child, leaves, seen)
    if not children:
        leaves.append(dataset)


def _children(dataset: Any) -> list:
    # The runner's slice passes unknown attributes on to what it wraps, so only the object's own ones are asked for.
    own = getattr(dataset, '__dict__', {})
    if isinstance(own.get('datasets'), (list, tuple)):
        return list(own['datasets'])
    for name in ('dataset', '_dataset'):
        if hasattr(own.get(name), '__getitem__') and not isinstance(own[name], (str, dict)):
            return [own[name]]
    return []
