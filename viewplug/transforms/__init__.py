"""How views are cut."""

from viewplug.requirements import require

require('mmengine', 'mmcv', 'mmpretrain')

from .block_masks import BlockMasks  # noqa: E402
from .contrastive_crop import ContrastiveCrop  # noqa: E402
from .multi_view import META_KEYS, MultiView  # noqa: E402
from .pack_views import PackViews  # noqa: E402
from .query_crops import QueryCrops  # noqa: E402
from .random_resized_crop import RandomResizedCrop  # noqa: E402

__all__ = ['BlockMasks', 'ContrastiveCrop', 'META_KEYS', 'MultiView', 'PackViews', 'QueryCrops', 'RandomResizedCrop']
