"""Formulas: tensors in, scalar out. A loss knows nothing of views, queues or ranks."""

from .cosine import CosineLoss
from .dino import DINOLoss, IBOTLoss
from .info_nce import InfoNCELoss

__all__ = ['CosineLoss', 'DINOLoss', 'IBOTLoss', 'InfoNCELoss']
