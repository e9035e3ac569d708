"""Data sets."""

from viewplug.requirements import require

require('mmengine', 'mmcv', 'mmpretrain')

from .corrupt_images import CorruptImagesError  # noqa: E402
from .fashion_mnist import FashionMNIST  # noqa: E402
from .image_folder import ImageFolder  # noqa: E402
from .leaves import leaf_datasets  # noqa: E402
from .shape_scenes import ShapeScenes  # noqa: E402

__all__ = ['CorruptImagesError', 'FashionMNIST', 'ImageFolder', 'ShapeScenes', 'leaf_datasets']
