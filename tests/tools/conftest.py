"""Images for tools to read."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """12 images, nested, two of them at the top."""
    rng = np.random.default_rng(0)
    for i in range(12):
        path = tmp_path / 'images' / ('' if i < 2 else f'class{i % 3}') / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(path)
    return tmp_path / 'images'
