"""The images of a pre-training config, whole, and the ContrastiveCrop that would cut them."""

from __future__ import annotations

import copy

from mmengine import Config
from mmpretrain.datasets.transforms import RandomResizedCrop

from viewplug.config.data_root import set_data_root
from viewplug.datasets.leaves import leaf_datasets
from viewplug.datasets.whole_images import WholeImages
from viewplug.registry import DATASETS
from viewplug.transforms import ContrastiveCrop
from viewplug.transforms.pipelines import steps_before, transforms_in


def images_and_crop(
    cfg: Config, data_root: str | None = None, alpha: float | None = None
) -> tuple[WholeImages, ContrastiveCrop]:
    """The first data set's images, and the ContrastiveCrop of its pipeline or one like its random resized crop.

    Args:
        data_root: take the images below this folder instead.
        alpha: of the crop; None is the config's, or 0.6 where it has no ContrastiveCrop.

    Raises:
        ValueError: no random resized crop in the pipeline.
        UserError: no folder ``data_root``.
    """
    if data_root:
        cfg = copy.deepcopy(cfg)  # its own copy() is shallow
        set_data_root(cfg, data_root)
    leaf = leaf_datasets(DATASETS.build(cfg.train_dataloader.dataset))[0]
    pipeline = getattr(leaf, 'pipeline', None)
    crops = transforms_in(pipeline, ContrastiveCrop) or transforms_in(pipeline, RandomResizedCrop)
    if not crops:
        raise ValueError(f'no random resized crop in the train pipeline of {cfg.filename} ({type(leaf).__name__})')
    stock = crops[0]
    crop = ContrastiveCrop(
        stock.scale,
        stock.crop_ratio_range,
        stock.aspect_ratio_range,
        getattr(stock, 'alpha', 0.6) if alpha is None else alpha,
        center=getattr(stock, 'center', 'beta'),
    )
    steps = steps_before(pipeline, type(stock))
    return WholeImages(leaf, steps, crop.scale, stock.interpolation, stock.backend), crop
