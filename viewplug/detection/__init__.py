"""Parts that go into mmdet's detectors. They build mmdet's own by name, so that importing this needs no mmdet."""

from .keep_difficult import KeepDifficult
from .res5_with_norm import Res5WithNorm
from .vit_fpn import ViTFPN

__all__ = ['KeepDifficult', 'Res5WithNorm', 'ViTFPN']
