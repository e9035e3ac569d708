"""Views in batch: the augmentations of a config as a few kernels on the device, and images that live there."""

from viewplug.requirements import require

require('mmengine', 'mmcv', 'mmpretrain')

from .batch_views import BatchViews  # noqa: E402
from .data_preprocessor import ViewsDataPreprocessor  # noqa: E402
from .operator import Operator  # noqa: E402
from .switch import to_device_views  # noqa: E402
from .view import View  # noqa: E402

__all__ = ['BatchViews', 'Operator', 'View', 'ViewsDataPreprocessor', 'to_device_views']
