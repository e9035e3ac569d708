"""Models that mmengine's Runner trains."""

from .cpc import CPC
from .linear_classifier import LinearClassifier, TunedLinearClassifier
from .pretext import Pretext
from .pretext_tasks import JigsawTask, RelativePositionTask, RotationTask
from .siamese import Siamese

__all__ = [
    'CPC',
    'JigsawTask',
    'LinearClassifier',
    'Pretext',
    'RelativePositionTask',
    'RotationTask',
    'Siamese',
    'TunedLinearClassifier',
]
