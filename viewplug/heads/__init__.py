"""What is compared with what: pairs, negatives, predictors, regions."""

from .cpc import CPCHead
from .distill import DistillHead, PatchDistillHead
from .in_batch import InBatchHead
from .predict import PredictHead
from .queue import QueueHead
from .region import RegionHead

__all__ = ['CPCHead', 'DistillHead', 'InBatchHead', 'PatchDistillHead', 'PredictHead', 'QueueHead', 'RegionHead']
