"""Hooks: what happens around the training loop."""

from .carry_over import CarryOverHook
from .corrupt_images import CorruptImageHook
from .epoch_seed import EpochSeedHook
from .gallery import ViewGalleryHook
from .health import RepresentationHealthHook
from .knn import KNNHook
from .preflight import PreflightHook

__all__ = [
    'CarryOverHook',
    'CorruptImageHook',
    'EpochSeedHook',
    'KNNHook',
    'PreflightHook',
    'RepresentationHealthHook',
    'ViewGalleryHook',
]
