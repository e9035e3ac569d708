"""Hooks: what happens around the training loop."""

from .carry_over import CarryOverHook
from .constant_lr import ConstantLRHook
from .corrupt_images import CorruptImageHook
from .epoch_seed import EpochSeedHook
from .finite_weights import DivergedError, FiniteWeightsHook
from .frozen_backbone import FrozenBackboneHook
from .gallery import ViewGalleryHook
from .health import RepresentationHealthHook
from .knn import KNNHook
from .late_runtime_info import LateRuntimeInfoHook
from .localization import LocalizationHook
from .precise_bn import PreciseBNHook
from .preemption import PreemptionHook
from .preflight import PreflightHook
from .resume_check import ResumeCheckHook
from .run_record import RunRecordHook
from .step_gradients import ClipEachGradientHook, FreezeLastLayerHook
from .step_speed import StepSpeedHook
from .sync_running_stats import SyncRunningStatsHook

__all__ = [
    'CarryOverHook',
    'ClipEachGradientHook',
    'ConstantLRHook',
    'CorruptImageHook',
    'DivergedError',
    'EpochSeedHook',
    'FiniteWeightsHook',
    'FreezeLastLayerHook',
    'FrozenBackboneHook',
    'KNNHook',
    'LateRuntimeInfoHook',
    'LocalizationHook',
    'PreciseBNHook',
    'PreemptionHook',
    'PreflightHook',
    'RepresentationHealthHook',
    'ResumeCheckHook',
    'RunRecordHook',
    'StepSpeedHook',
    'SyncRunningStatsHook',
    'ViewGalleryHook',
]
