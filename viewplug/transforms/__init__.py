"""How views are cut."""

from viewplug.requirements import require

require('mmengine', 'mmcv', 'mmpretrain')

from .contrastive_crop import ContrastiveCrop  # noqa: E402
from .multi_view import META_KEYS, MultiView  # noqa: E402
from .noise import GaussianNoise  # noqa: E402
from .quarter_turn import QuarterTurn  # noqa: E402
from .random_resized_crop import RandomResizedCrop  # noqa: E402
from .sobel import Sobel  # noqa: E402

__all__ = ['ContrastiveCrop', 'GaussianNoise', 'META_KEYS', 'MultiView', 'QuarterTurn', 'RandomResizedCrop', 'Sobel']
