"""What is compared with what: pairs, negatives, predictors, regions."""

from .cpc import CPCHead
from .in_batch import InBatchHead
from .predict import PredictHead
from .queue import QueueHead
from .region import RegionHead

__all__ = ['CPCHead', 'InBatchHead', 'PredictHead', 'QueueHead', 'RegionHead']
