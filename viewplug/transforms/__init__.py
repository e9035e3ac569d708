"""How views are cut."""

from viewplug.requirements import require

require('mmengine', 'mmcv', 'mmpretrain')

from .block_masks import BlockMasks  # noqa: E402
from .color_jitter import ColorJitter  # noqa: E402
from .contrastive_crop import ContrastiveCrop  # noqa: E402
from .drop_colours import DropColours  # noqa: E402
from .multi_view import META_KEYS, MultiView  # noqa: E402
from .noise import GaussianNoise  # noqa: E402
from .pack_views import PackViews  # noqa: E402
from .patch_grid import PatchGrid  # noqa: E402
from .quarter_turn import QuarterTurn  # noqa: E402
from .query_crops import QueryCrops  # noqa: E402
from .random_grayscale import RandomGrayscale  # noqa: E402
from .random_resized_crop import RandomResizedCrop  # noqa: E402
from .sobel import Sobel  # noqa: E402

__all__ = [
    'BlockMasks',
    'ColorJitter',
    'ContrastiveCrop',
    'DropColours',
    'GaussianNoise',
    'META_KEYS',
    'MultiView',
    'PackViews',
    'PatchGrid',
    'QuarterTurn',
    'QueryCrops',
    'RandomGrayscale',
    'RandomResizedCrop',
    'Sobel',
]
