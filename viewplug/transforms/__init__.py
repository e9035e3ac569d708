"""How views are cut."""

from viewplug.requirements import require

require('mmengine', 'mmcv', 'mmpretrain')

from .multi_view import META_KEYS, MultiView  # noqa: E402
from .random_resized_crop import RandomResizedCrop  # noqa: E402

__all__ = ['META_KEYS', 'MultiView', 'RandomResizedCrop']
