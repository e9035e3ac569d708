"""The operators of SimCLR's Fig. 4 that mmpretrain lacks, one image at a time and in batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from viewplug.batch_views.quarter_turn import QuarterTurn as QuarterTurns
from viewplug.batch_views.sobel import Sobel as Sobels
from viewplug.batch_views.view import View
from viewplug.registry import TRANSFORMS
from viewplug.transforms import GaussianNoise, QuarterTurn, Sobel


def image(height: int = 12, width: int = 12) -> np.ndarray:
    return np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)


def as_batch(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()).float()


def test_one_image_and_a_batch_are_turned_alike():
    pixels = image()
    for turn in range(4):
        single = QuarterTurn(turns=(turn,), prob=1.0).transform(dict(img=pixels))['img']
        batch = QuarterTurns(turns=(turn,), prob=1.0).apply(as_batch(pixels, pixels), turns=[turn, 0])
        assert torch.equal(batch[0], as_batch(single)[0]) and torch.equal(batch[1], as_batch(pixels)[0])
        assert np.array_equal(single, np.rot90(pixels, turn))


def test_turns_are_drawn_evenly_and_only_for_their_share():
    drawn = QuarterTurns((1, 2, 3)).draw(3000, torch.Generator().manual_seed(0))['turns']
    assert stats.chisquare(np.bincount(drawn, minlength=4)[1:]).pvalue > 1e-3
    pixels, turned = image(), dict.fromkeys(range(4), 0)
    transform = QuarterTurn(turns=(1, 3), prob=0.5)
    for _ in range(1000):
        found = transform.transform(dict(img=pixels))['img']
        turned[next(turn for turn in range(4) if np.array_equal(found, np.rot90(pixels, turn)))] += 1
    assert turned[2] == 0 and stats.chisquare([turned[0], turned[1], turned[3]], [500, 250, 250]).pvalue > 1e-3


def test_a_turned_oblong_says_its_shape_and_a_batch_refuses_it():
    assert QuarterTurn((1,), prob=1.0).transform(dict(img=image(6, 9)))['img_shape'] == (9, 6)
    with pytest.raises(ValueError, match='need square views, got 6 x 9; set turns=\\(2,\\)'):
        QuarterTurns().apply(as_batch(image(6, 9)), turns=[1])


@pytest.mark.parametrize('turns', [(), (4,), 2])
def test_other_turns_are_refused(turns):
    with pytest.raises(ValueError, match='turns must be (some of 0, 1, 2 and 3|a list, each .*), got'):
        QuarterTurn(turns=turns)


def test_a_flip_moves_before_turns_only_where_both_directions_are_drawn():
    assert QuarterTurns((1, 2, 3)).mirrors and QuarterTurns((0, 2)).mirrors and not QuarterTurns((1,)).mirrors
    steps = [dict(type='Resize', scale=12), dict(type='QuarterTurn', turns=(1,), prob=1.0)]
    pixels = image()
    found = View([*steps, dict(type='RandomFlip', prob=1.0)])(as_batch(pixels))[0]
    assert torch.equal(found[0], as_batch(np.rot90(pixels)[:, ::-1])[0])


def test_noise_is_normal_and_its_strength_is_drawn_as_asked():
    grey = np.full((60, 60, 3), 128, np.uint8)
    found = GaussianNoise(std=9.0, prob=1.0).transform(dict(img=grey))['img'].astype(float) - 128
    assert found.std() == pytest.approx(9, rel=0.03) and abs(found.mean()) < 0.3
    noise = GaussianNoise(magnitude_range=(0, 20), magnitude_std='inf', prob=1.0)
    strengths = [noise.transform(dict(img=grey))['img'].astype(float).std() for _ in range(300)]
    assert stats.kstest(strengths, stats.uniform(0, 20).cdf).pvalue > 1e-3
    white = GaussianNoise(std=50.0, prob=1.0).transform(dict(img=np.full((9, 9, 3), 255, np.uint8)))['img']
    assert white.dtype == np.uint8 and white.max() == 255 and white.min() > 50  # nothing wraps round


def test_noise_needs_one_strength():
    for arguments in (dict(), dict(std=1.0, magnitude_range=(0, 1))):
        with pytest.raises(ValueError, match='std or magnitude_range must be given, and not both'):
            GaussianNoise(**arguments)


def test_sobel_is_that_of_whole_batches():
    pixels = image(20, 30)
    single = Sobel(prob=1.0).transform(dict(img=pixels))['img']
    assert np.abs(as_batch(single) - Sobels().apply(as_batch(pixels))).max() <= 0.51


def test_configs_find_them_by_name():
    for name in ('QuarterTurn', 'GaussianNoise', 'Sobel'):
        settings = dict(std=3.0) if name == 'GaussianNoise' else {}
        assert TRANSFORMS.build(dict(type=f'viewplug.{name}', **settings))(dict(img=image()))['img'].shape == (
            12,
            12,
            3,
        )
        assert View([dict(type='Resize', scale=12), dict(type=f'viewplug.{name}', **settings)])(as_batch(image()))
