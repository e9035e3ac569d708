"""Data sets."""

from viewplug.requirements import require

require('mmengine', 'mmcv', 'mmpretrain')

from .class_subset import ClassSubset, draw_classes  # noqa: E402
from .corrupt_images import CorruptImagesError  # noqa: E402
from .fashion_mnist import FashionMNIST  # noqa: E402
from .image_folder import ImageFolder  # noqa: E402
from .in_memory import InMemoryDataset, take_batch  # noqa: E402
from .leaves import leaf_datasets  # noqa: E402
from .shape_scenes import ShapeScenes  # noqa: E402
from .shard_sampler import ShardSampler  # noqa: E402
from .stl10 import STL10  # noqa: E402
from .tar_shards import TarShards  # noqa: E402
from .tiny_imagenet import TinyImageNet  # noqa: E402

__all__ = [
    'ClassSubset',
    'CorruptImagesError',
    'FashionMNIST',
    'ImageFolder',
    'InMemoryDataset',
    'STL10',
    'ShapeScenes',
    'ShardSampler',
    'TarShards',
    'TinyImageNet',
    'draw_classes',
    'leaf_datasets',
    'take_batch',
]
