from .fashion_mnist import FashionMNIST
from .image_folder import CorruptImagesError, ImageFolder
from .leaves import leaf_datasets
from .shape_scenes import ShapeScenes

__all__ = ['ShapeScenes', 'CorruptImagesError', 'FashionMNIST', 'ImageFolder', 'leaf_datasets']
