"""Who the online embeddings are compared with: the same network, the same without gradient, or a moving average."""

from .momentum import MomentumTarget
from .shared import SharedTarget, StopGradTarget

__all__ = ['MomentumTarget', 'SharedTarget', 'StopGradTarget']
