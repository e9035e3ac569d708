"""Hooks: what happens around the training loop."""

from .carry_over import CarryOverHook
from .constant_lr import ConstantLRHook
from .corrupt_images import CorruptImageHook
from .epoch_seed import EpochSeedHook
from .frozen_backbone import FrozenBackboneHook
from .gallery import ViewGalleryHook
from .health import RepresentationHealthHook
from .knn import KNNHook
from .localization import LocalizationHook
from .preflight import PreflightHook
from .run_record import RunRecordHook
from .step_speed import StepSpeedHook

__all__ = [
    'CarryOverHook',
    'ConstantLRHook',
    'CorruptImageHook',
    'EpochSeedHook',
    'FrozenBackboneHook',
    'KNNHook',
    'LocalizationHook',
    'PreflightHook',
    'RepresentationHealthHook',
    'RunRecordHook',
    'StepSpeedHook',
    'ViewGalleryHook',
]
