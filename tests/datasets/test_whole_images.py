import numpy as np
import pytest
import torch
from toys import ToyImages

from viewplug.datasets.whole_images import images_as_loaded
from viewplug.transforms import MultiView, PackViews

PACK = PackViews(meta_keys=('sample_idx',))


class OwnMultiView(MultiView):
    """Somebody's, with a name of its own."""


@pytest.mark.parametrize(
    'steps',
    [[PACK], [OwnMultiView([[dict(type='mmpretrain.Resize', scale=8)]], 2), PACK]],
    ids=['queries or masks made in batch', 'a MultiView of a class derived from ours'],
)
def test_images_are_those_before_the_views_whatever_class_makes_or_packs_them(steps):
    images = images_as_loaded(ToyImages(pipeline=steps), [0, 3])
    for index, image in zip((0, 3), images, strict=True):
        pixels = np.random.RandomState(index).randint(0, 256, (48, 48, 3), dtype=np.uint8)
        assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1))
