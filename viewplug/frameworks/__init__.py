"""Models that mmengine's Runner trains."""

from .linear_classifier import LinearClassifier
from .siamese import Siamese

__all__ = ['LinearClassifier', 'Siamese']
