"""What is compared with what: pairs, negatives, predictors, regions."""

from .distill import DistillHead, PatchDistillHead
from .in_batch import InBatchHead
from .predict import PredictHead
from .queue import QueueHead
from .region import RegionHead

__all__ = ['DistillHead', 'InBatchHead', 'PatchDistillHead', 'PredictHead', 'QueueHead', 'RegionHead']
