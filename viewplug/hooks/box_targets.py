"""Which data sets of a training loader need boxes, and the stores that take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from mmengine.dataset import BaseDataset
from mmpretrain.datasets.transforms import PackInputs
from torch import Tensor
from torch.utils.data import ConcatDataset

from viewplug.batch_views.contrastive_crop import ContrastiveCrop as BatchContrastiveCrop
from viewplug.box_store import BoxStore
from viewplug.crop_sampling import WHOLE_IMAGE
from viewplug.datasets.in_memory import InMemoryDataset
from viewplug.datasets.leaves import leaf_datasets
from viewplug.datasets.whole_images import WholeImages
from viewplug.hooks.image_fingerprint import image_fingerprint
from viewplug.transforms.contrastive_crop import ContrastiveCrop
from viewplug.transforms.pipelines import steps_before, transforms_in


@dataclass
class BoxTarget:
    """A leaf data set whose pipeline crops by boxes.

    Attributes:
        leaf: The data set without wrappers; a box belongs to one of its ``sample_idx``.
        crops: The ContrastiveCrops of its pipeline that localise.
        steps: The transforms before the first of them.
    """

    leaf: BaseDataset
    crops: list[ContrastiveCrop | BatchContrastiveCrop]
    steps: list[Callable]

    @property
    def stores(self) -> list[BoxStore]:
        return list({crop.box_store.path: crop.box_store for crop in self.crops}.values())


class BoxTargets:
    """All of a loader's :class:`BoxTarget`, in the order of its wrappers, their images numbered through.

    Args:
        dataset: As the loader has it, wrapped or not.
        preprocessor: The model's data preprocessor; ``viewplug.BatchViews`` crops in place of the pipeline.

    Raises:
        ValueError: there is no ContrastiveCrop, two data sets share one or its store, or views that are cut in batch
            have several data sets.
    """

    def __init__(self, dataset, preprocessor=None) -> None:
        self.targets: list[BoxTarget] = []
        leaves = leaf_datasets(dataset)
        crops = _crops_in_batch(preprocessor)
        found = bool(crops)
        crops = [crop for crop in crops if crop.localize]
        if crops:
            self.targets.append(BoxTarget(_only_leaf(dataset, leaves), crops, _loading_steps(leaves[0])))
        for leaf in leaves:
            pipeline = getattr(leaf, 'pipeline', None)
            crops = transforms_in(pipeline, ContrastiveCrop)
            found = found or bool(crops)
            crops = [crop for crop in crops if crop.localize]
            if crops:
                self.targets.append(BoxTarget(leaf, crops, steps_before(pipeline, ContrastiveCrop)))
        if not found:
            names = ', '.join(sorted({type(leaf).__name__ for leaf in leaves}))
            raise ValueError(
                f'LocalizationHook finds no viewplug.ContrastiveCrop in the train pipeline (data sets: {names}): put '
                "type='viewplug.ContrastiveCrop' in RandomResizedCrop's place in train_dataloader.dataset.pipeline, or "
                'remove the hook'
            )
        paths = [store.path for target in self.targets for store in target.stores]
        if len(paths) != len(set(paths)):
            raise ValueError(
                'LocalizationHook: two data sets crop by one BoxStore, in which their images would overwrite each '
                "other's boxes: give each its own pipeline and ContrastiveCrop.store"
            )

    def __len__(self) -> int:
        return sum(self.lengths)

    @property
    def lengths(self) -> list[int]:
        return [len(target.leaf) for target in self.targets]

    @property
    def written(self) -> bool:
        """Whether every store has boxes."""
        return all(len(store) for target in self.targets for store in target.stores)

    def write(self, boxes: Tensor) -> None:
        """Hand (len(self), 4) boxes to the stores."""
        for target, part in zip(self.targets, boxes.split(self.lengths), strict=True):
            for store in target.stores:
                store.write(part)

    def read(self) -> Tensor:
        """(len(self), 4), the whole image where nothing has been written."""
        boxes = []
        for target in self.targets:
            rows = target.stores[0].read_all()
            whole = torch.tensor(WHOLE_IMAGE).repeat(len(target.leaf), 1)
            boxes.append(whole if rows is None else torch.from_numpy(rows))
        return torch.cat(boxes)

    @cached_property
    def images(self) -> list[str]:
        """The data sets' fingerprints, made once a run."""
        return [image_fingerprint(target.leaf) for target in self.targets]

    def state(self) -> dict:
        """For a checkpoint: lengths and fingerprints of the data sets, and their boxes or None."""
        return dict(lengths=self.lengths, images=self.images, boxes=self.read() if self.written else None)

    def unlike(self, state: dict) -> str | None:
        """How these data sets differ from those of a :meth:`state`, for a message; None if they do not.

        A state of an earlier version has no fingerprints: its lengths decide.
        """
        if list(state['lengths']) != self.lengths:
            return f'{self.lengths} images'
        if list(state.get('images', self.images)) != self.images:
            return 'as many images, but other ones or in another order'
        return None

    def restore(self, state: dict) -> bool:
        """Take :meth:`state` back; False, and nothing done, if it is that of other data sets."""
        if self.unlike(state) is not None:
            return False
        if state['boxes'] is not None:
            self.write(state['boxes'].cpu())
        else:
            self.forget()
        return True

    def check_writable(self) -> None:
        for target in self.targets:
            for store in target.stores:
                store.check_writable()

    def forget(self) -> None:
        """No boxes where a store has some: one with a path of its own outlives the run that was killed."""
        for target in self.targets:
            for store in target.stores:
                if len(store):
                    store.clear()

    def input_size(self) -> tuple[int, int]:
        """Height, width of the largest view."""
        return max((tuple(crop.scale) for target in self.targets for crop in target.crops), key=lambda s: s[0] * s[1])

    def whole_images(self, size: tuple[int, int]) -> ConcatDataset:
        """All images in the order of the boxes."""
        images = []
        for target in self.targets:
            crop = target.crops[0]
            images.append(WholeImages(target.leaf, target.steps, size, crop.interpolation, crop.backend))
        return ConcatDataset(images)


def localised_crops(dataset, preprocessor=None) -> list[ContrastiveCrop | BatchContrastiveCrop]:
    """Those of a loader's data set, and of a model's preprocessor, that heed boxes."""
    crops = _crops_in_batch(preprocessor)
    for leaf in leaf_datasets(dataset):
        crops += transforms_in(getattr(leaf, 'pipeline', None), ContrastiveCrop)
    return [crop for crop in crops if crop.localize]


def _crops_in_batch(preprocessor) -> list[BatchContrastiveCrop]:
    views = [*getattr(preprocessor, 'views', []), getattr(preprocessor, 'queries', None)]
    crops = (view.crop for view in views if view is not None)
    return list({id(crop): crop for crop in crops if isinstance(crop, BatchContrastiveCrop)}.values())


def _only_leaf(dataset, leaves: list) -> BaseDataset:
    """The one data set whose ``sample_idx`` is the one that batches carry."""
    wrapped = isinstance(dataset, InMemoryDataset) and dataset.dataset is not leaves[0]
    if len(leaves) > 1 or wrapped:
        raise ValueError(
            'LocalizationHook: viewplug.BatchViews finds boxes by sample_idx, which is clear only for one data set '
            f'without wrappers, got {len(leaves)} ({", ".join(type(leaf).__name__ for leaf in leaves)}); set '
            "views='sample' for a wrapped one"
        )
    return leaves[0]


def _loading_steps(leaf: BaseDataset) -> list[Callable]:
    return [step for step in leaf.pipeline.transforms if not isinstance(step, PackInputs)]
