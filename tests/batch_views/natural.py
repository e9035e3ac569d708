"""Images with the smoothness and the strong colours of photographs."""

import numpy as np
import torch


def natural_images(number: int = 6, height: int = 40, width: int = 56, seed: int = 0) -> list[np.ndarray]:
    """(H, W, 3) uint8 each, from black to white: waves of random length, direction and colour, and a little noise."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[:height, :width]
    images = []
    for _ in range(number):
        image = np.zeros((height, width, 3))
        for _ in range(8):
            length = random.uniform(8, 80)
            angle, phase = random.uniform(0, 2 * np.pi, size=2)
            wave = np.sin((rows * np.cos(angle) + columns * np.sin(angle)) * 2 * np.pi / length + phase)
            image += wave[..., None] * random.normal(size=3) * length**0.5
        image += random.normal(size=image.shape) * 0.1 * image.std()
        low, high = np.percentile(image, [3, 97])
        images.append((np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8))
    return images


def as_batch(images: list[np.ndarray]) -> torch.Tensor:
    """(N, 3, H, W) uint8, padded at the bottom and right with a value that would be noticed."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    batch = torch.full((len(images), 3, height, width), 201, dtype=torch.uint8)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[0], : image.shape[1]] = torch.from_numpy(image).permute(2, 0, 1)
    return batch


def as_float(images: list[np.ndarray]) -> torch.Tensor:
    return as_batch(images).float()


def differences(found: torch.Tensor, expected: list[np.ndarray]) -> list[float]:
    """Mean absolute difference of each image, in 0..255."""
    return [
        float((one.permute(1, 2, 0) - torch.from_numpy(np.array(other)).float()).abs().mean())
        for one, other in zip(found, expected, strict=True)
    ]
