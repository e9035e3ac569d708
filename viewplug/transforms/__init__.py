"""How views are cut."""

from viewplug.requirements import require

require('mmengine', 'mmcv', 'mmpretrain')

from .contrastive_crop import ContrastiveCrop  # noqa: E402
from .multi_view import META_KEYS, MultiView  # noqa: E402
from .random_resized_crop import RandomResizedCrop  # noqa: E402

__all__ = ['ContrastiveCrop', 'META_KEYS', 'MultiView', 'RandomResizedCrop']
