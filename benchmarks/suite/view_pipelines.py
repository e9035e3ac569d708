"""The same augmentation written for each library that works sample by sample.

Each function takes (N, H, W, 3) uint8 RGB images, the size of the views, whether they are blurred, and the device;
what it returns turns indices into two normalised float32 batches (N, 3, s, s) there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

Pipeline = Callable[[Sequence[int]], Sequence[Tensor]]

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
MOCO_V2 = dict(
    area=(0.2, 1.0),
    jitter=dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    jitter_prob=0.8,
    grey_prob=0.2,
    sigma=(0.1, 2.0),
    blur_prob=0.5,
    flip_prob=0.5,
)
# Four deviations of the strongest blur to either side.
V2_KERNEL = 17


def steps(size: int, blur: bool, library: str = 'viewplug') -> list[dict]:
    """One view in OpenMMLab's vocabulary, as in configs/_base_/views_mocov2.py and mmpretrain's MoCo v2 config.

    Args:
        library: 'viewplug' or 'mmpretrain', whose crop, colour jitter and greyscale are used.
    """
    how = MOCO_V2
    return [
        dict(type=f'{library}.RandomResizedCrop', scale=size, crop_ratio_range=how['area'], backend='pillow'),
        dict(
            type='mmpretrain.RandomApply',
            transforms=[dict(type=f'{library}.ColorJitter', **how['jitter'])],
            prob=how['jitter_prob'],
        ),
        dict(
            type=f'{library}.RandomGrayscale',
            prob=how['grey_prob'],
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.2989),
        ),
        *(
            [
                dict(
                    type='mmpretrain.GaussianBlur',
                    magnitude_range=how['sigma'],
                    magnitude_std='inf',
                    prob=how['blur_prob'],
                )
            ]
            if blur
            else []
        ),
        dict(type='mmpretrain.RandomFlip', prob=how['flip_prob']),
    ]


def viewplug_views(images: np.ndarray, size: int, blur: bool, device: str) -> Pipeline:
    """viewplug's MultiView and crop, which keep where views were cut, colour jitter, greyscale and preprocessor; the
    rest is mmpretrain's."""
    view = steps(size, blur)
    keys = ('sample_idx', 'img_shape', 'crop_box', 'flip')
    return _openmmlab('viewplug', 'ViewsDataPreprocessor', view, keys, images, device)


def mmpretrain_views(images: np.ndarray, size: int, blur: bool, device: str) -> Pipeline:
    """As mmpretrain's MoCo v2 config has it, Pillow backend."""
    view = steps(size, blur, 'mmpretrain')
    return _openmmlab('mmpretrain', 'SelfSupDataPreprocessor', view, ('sample_idx', 'img_shape'), images, device)


def _openmmlab(
    library: str, preprocessor: str, view: list[dict], keys: Sequence[str], images: np.ndarray, device: str
) -> Pipeline:
    import mmpretrain.datasets.transforms
    import mmpretrain.models  # noqa: F401
    from mmengine.dataset import Compose, default_collate
    from mmengine.registry import MODELS, TRANSFORMS

    bgr = np.ascontiguousarray(images[..., ::-1])
    multi_view = dict(type=f'{library}.MultiView', num_views=2, transforms=[view])
    pack = dict(type='mmpretrain.PackInputs', meta_keys=keys)
    pipeline = Compose([TRANSFORMS.build(multi_view), TRANSFORMS.build(pack)])
    settings = dict(mean=MEAN, std=STD, to_rgb=True)
    preprocess = MODELS.build(dict(type=f'{library}.{preprocessor}', **settings)).to(device)
    shape = images.shape[1:3]

    def views(indices: Sequence[int]) -> Sequence[Tensor]:
        samples = [dict(img=bgr[i], sample_idx=i, img_shape=shape, ori_shape=shape) for i in indices]
        return preprocess(default_collate([pipeline(sample) for sample in samples]), True)['inputs']

    return views


def torchvision_views(images: np.ndarray, size: int, blur: bool, device: str) -> Pipeline:
    """torchvision's transforms of PIL images; the blur is Pillow's, as in MoCo's own code."""
    from torchvision import transforms as T

    how = MOCO_V2
    transform = T.Compose(
        [
            T.RandomResizedCrop(size, scale=how['area']),
            T.RandomApply([T.ColorJitter(**how['jitter'])], p=how['jitter_prob']),
            T.RandomGrayscale(p=how['grey_prob']),
            *([T.RandomApply([PillowBlur(how['sigma'])], p=how['blur_prob'])] if blur else []),
            T.RandomHorizontalFlip(how['flip_prob']),
            T.ToTensor(),
            T.Normalize([mean / 255 for mean in MEAN], [std / 255 for std in STD]),
        ]
    )
    return _of_pil_images(lambda image: [transform(image), transform(image)], images, device)


class PillowBlur:
    """A Gaussian blur of a PIL image whose deviation is uniform in ``sigma``, px."""

    def __init__(self, sigma: tuple[float, float]) -> None:
        self.sigma = sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self.sigma)))


def lightly_views(images: np.ndarray, size: int, blur: bool, device: str) -> Pipeline:
    """lightly's MoCoV2Transform of PIL images."""
    from lightly.transforms import MoCoV2Transform

    how = MOCO_V2
    transform = MoCoV2Transform(
        input_size=size,
        cj_prob=how['jitter_prob'],
        cj_bright=how['jitter']['brightness'],
        cj_contrast=how['jitter']['contrast'],
        cj_sat=how['jitter']['saturation'],
        cj_hue=how['jitter']['hue'],
        min_scale=how['area'][0],
        random_gray_scale=how['grey_prob'],
        gaussian_blur=how['blur_prob'] if blur else 0.0,
        sigmas=how['sigma'],
        hf_prob=how['flip_prob'],
        normalize=dict(mean=[mean / 255 for mean in MEAN], std=[std / 255 for std in STD]),
    )
    return _of_pil_images(transform, images, device)


def _of_pil_images(transform: Callable, images: np.ndarray, device: str) -> Pipeline:
    def views(indices: Sequence[int]) -> Sequence[Tensor]:
        return _collated([transform(Image.fromarray(images[i])) for i in indices], device)

    return views


def v2_views(images: np.ndarray, size: int, blur: bool, device: str) -> Pipeline:
    """torchvision.transforms.v2 on uint8 tensors."""
    from torchvision.transforms import v2

    how = MOCO_V2
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=how['area'], antialias=True),
            v2.RandomApply([v2.ColorJitter(**how['jitter'])], p=how['jitter_prob']),
            v2.RandomGrayscale(p=how['grey_prob']),
            *([v2.RandomApply([v2.GaussianBlur(V2_KERNEL, how['sigma'])], p=how['blur_prob'])] if blur else []),
            v2.RandomHorizontalFlip(how['flip_prob']),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([mean / 255 for mean in MEAN], [std / 255 for std in STD]),
        ]
    )
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def views(indices: Sequence[int]) -> Sequence[Tensor]:
        return _collated([[transform(tensors[i]), transform(tensors[i])] for i in indices], device)

    return views


def _collated(samples: Sequence[Sequence[Tensor]], device: str) -> Sequence[Tensor]:
    return [torch.stack(views).to(device) for views in zip(*samples, strict=True)]
