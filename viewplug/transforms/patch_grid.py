"""An image as a grid of patches, each augmented on its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from viewplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PatchGrid(BaseTransform):
    """Cut an image of any size into rows and columns of square patches, and augment each patch on its own.

    CPC (arXiv:1807.03748, sec. 3.3): 64 px at stride 32 on 256 px, a 7 x 7 grid; its version 2 (arXiv:1905.09272,
    sec. 4.1): 80 px at stride 36 on 260 px, 6 x 6. Jigsaw (arXiv:1603.09246, sec. 4): 64 px at a random place within
    each of 3 x 3 cells of 75 px (``stride=75, jitter=11``), so that neighbours do not fit by their edges.

    There are as many rows and columns as fit; what is left over is shared out to both sides of the grid. Images of one
    batch must give grids of one shape: resize and crop before.

    Added key: ``patches`` (rows, cols, 3, p, p), channels in the image's order and of its type. ``img`` stays.

    Args:
        patch_size: side of a patch, p, pixels.
        stride: from one patch to the next, pixels; left out, ``patch_size - overlap``.
        overlap: of neighbouring patches, pixels; one of ``stride`` and ``overlap`` at most, neither is no overlap.
        jitter: each patch is shifted right and down by 0 to this many pixels, drawn for each patch and direction.
        transforms: configs or callables that each patch passes through as ``img`` of a sample of its own, with
            random numbers of its own. They must give back p x p pixels.

    Raises:
        ValueError: a number that makes no sense; an image too small for one patch; a patch that changed its size.
    """

    def __init__(
        self,
        patch_size: int,
        stride: int | None = None,
        overlap: int | None = None,
        jitter: int = 0,
        transforms: Sequence | None = None,
    ) -> None:
        if stride is not None and overlap is not None:
            raise ValueError(f'PatchGrid: stride={stride} and overlap={overlap} say the same; give one of them')
        if stride is None:
            stride = patch_size - (overlap or 0)
        for name, value, least in (('patch_size', patch_size, 1), ('stride', stride, 1), ('jitter', jitter, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f'PatchGrid: {name} must be a whole number of at least {least}, got {value!r}')
        self.patch_size, self.stride, self.jitter = patch_size, stride, jitter
        self.transforms = Compose(list(transforms or []))

    def transform(self, results: dict) -> dict:
        image, size = results['img'], self.patch_size
        rows, top = self._places(image.shape[0])
        cols, left = self._places(image.shape[1])
        if min(rows, cols) < 1:
            raise ValueError(
                f'PatchGrid: an image of {image.shape[0]} x {image.shape[1]} px holds no patch of patch_size={size} '
                f'with jitter={self.jitter}; put a Resize before it in the pipeline'
            )
        shifts = np.random.randint(0, self.jitter + 1, (rows, cols, 2)) if self.jitter else np.zeros((rows, cols, 2))
        patches = []
        for row, col in np.ndindex(rows, cols):
            y, x = (int(shift) for shift in shifts[row, col] + (top + row * self.stride, left + col * self.stride))
            patches.append(self._augmented(image[y : y + size, x : x + size]))
        results['patches'] = np.stack(patches).reshape(rows, cols, size, size, -1).transpose(0, 1, 4, 2, 3)
        return results

    def _places(self, length: int) -> tuple[int, int]:
        """How many patches fit into ``length`` pixels, and where the first one starts."""
        room = length - self.patch_size - self.jitter
        return room // self.stride + 1, (room % self.stride) // 2

    def _augmented(self, patch: np.ndarray) -> np.ndarray:
        if not self.transforms.transforms:
            return patch
        sample = dict(img=patch.copy(), img_shape=patch.shape[:2], ori_shape=patch.shape[:2])
        augmented = self.transforms(sample)['img']
        if augmented.shape != patch.shape:
            raise ValueError(
                f'PatchGrid: transforms made a patch of {patch.shape} one of {augmented.shape}; let them give back '
                f'patch_size={self.patch_size} (a crop needs a Pad or Resize behind it)'
            )
        return augmented

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(patch_size={self.patch_size}, stride={self.stride}, jitter={self.jitter}, '
            f'transforms={self.transforms.transforms})'
        )
