"""Models that mmengine's Runner trains."""

from .siamese import Siamese

__all__ = ['Siamese']
