"""Models that mmengine's Runner trains."""

from .cpc import CPC
from .linear_classifier import LinearClassifier
from .siamese import Siamese
from .views_preprocessor import ViewsPreprocessor

__all__ = ['CPC', 'LinearClassifier', 'Siamese', 'ViewsPreprocessor']
