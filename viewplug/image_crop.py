"""ContrastiveCrop on a bare image, for pipelines that are not OpenMMLab's."""

from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resized_crop

from viewplug.crop_sampling import Box, Center, center_distribution, check_ranges, sample_crop

FAR_OUTSIDE = 2.0
"""Fractions stick out of the image by a rounding, or a little; pixels do by far more."""

AnyImage = TypeVar('AnyImage', Image.Image, np.ndarray, torch.Tensor)


class ContrastiveImageCrop:
    """``crop(image, box)``: a resized random crop, its centre drawn in the box (ContrastiveCrop, algorithm 1).

    Needs no OpenMMLab. Draws from ``np.random``, so seed numpy in loader workers; see
    :func:`viewplug.crop_sampling.sample_crop` for how.

    Args:
        scale: Size of the view, pixels: a number, or (height, width).
        crop_ratio_range: Area of the crop as a fraction of the image's.
        aspect_ratio_range: Width over height of the crop.
        alpha: Of the centre's Beta(alpha, alpha).
        interpolation: 'nearest', 'bilinear' or 'bicubic'; for PIL images also 'lanczos', 'box', 'hamming'.
        max_attempts: Sizes drawn before the central crop.
        center: Another distribution than Beta: 'uniform', 'quadratic', or a function of a random state that returns a
            number in [0, 1].

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        scale: tuple[int, int] | int,
        crop_ratio_range: tuple[float, float] = (0.2, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        alpha: float = 0.6,
        interpolation: str = 'bilinear',
        max_attempts: int = 10,
        center: str | Center = 'beta',
    ) -> None:
        check_ranges(crop_ratio_range, aspect_ratio_range)
        names = [mode.value for mode in InterpolationMode]
        if interpolation not in names:
            raise ValueError(f'interpolation must be one of {", ".join(names)}, got {interpolation!r}.')
        self.scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
        self.crop_ratio_range = crop_ratio_range
        self.aspect_ratio_range = aspect_ratio_range
        self.interpolation = InterpolationMode(interpolation)
        self.max_attempts = max_attempts
        self.center = center_distribution(center, alpha)

    def __call__(self, image: AnyImage, box: Box | None = None) -> AnyImage:
        """Crop and resize.

        Args:
            image: A PIL image, an array (H, W) or (H, W, C), or a tensor (..., C, H, W).
            box: x0, y0, x1, y1 as fractions of the image; None, as long as there is none, is RandomResizedCrop.

        Returns:
            The view, of the same kind and data type.

        Raises:
            ValueError: a box in pixels, or not of four numbers.
        """
        corners = box.tolist() if hasattr(box, 'tolist') else box or ()
        if len(corners) == 4 and any(corner > FAR_OUTSIDE for corner in corners):
            raise ValueError(
                f'box is x0, y0, x1, y1 as fractions of the image, got {list(corners)}: '
                'divide pixels by its width and height'
            )
        if isinstance(image, np.ndarray):
            channels_first = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1)))
            view = self(channels_first, box).numpy().transpose(1, 2, 0)
            return np.ascontiguousarray(view).reshape(self.scale + image.shape[2:])
        height, width = image.shape[-2:] if isinstance(image, torch.Tensor) else image.size[::-1]
        top, left, crop_height, crop_width = sample_crop(
            height,
            width,
            box,
            self.crop_ratio_range,
            self.aspect_ratio_range,
            center='uniform' if box is None else self.center,
            max_attempts=self.max_attempts,
        )
        return resized_crop(image, top, left, crop_height, crop_width, list(self.scale), self.interpolation, True)
