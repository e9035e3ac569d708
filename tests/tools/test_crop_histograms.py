"""Fig. 6: crops of an image share their histogram until colours are distorted."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('crop_histograms', ROOT / 'tools/crop_histograms.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grey(value: int) -> np.ndarray:
    return np.random.default_rng(value).integers(value - 10, value + 10, (40, 50, 3), dtype=np.uint8)


def test_distortion_takes_the_histogram_away_and_leaves_the_places(tool, tmp_path):
    found = tool.draw([grey(80), grey(160)], number=4, size=16, seed=0, path=tmp_path / 'sheet.png')
    same, other = found['without']
    assert same < 0.4 < 0.9 < other
    assert found['with'][0] > 2 * same
    assert (tmp_path / 'sheet.png').stat().st_size > 5000
    flat = np.zeros((30, 30, 3), np.uint8)
    flat[:15] = 255
    plain, distorted = (tool.crops_of(flat, 20, distort, 12, seed=3) for distort in (False, True))
    for a, b in zip(plain, distorted, strict=True):  # the same place: rows that differ are the same rows
        if np.ptp(a) == 0:
            assert np.ptp(b.mean(axis=2)) < 1


def test_a_histogram_counts_all_channels_and_distances_are_total_variation(tool):
    view = np.zeros((2, 2, 3))
    view[..., 1] = 255
    counts = tool.histogram(view)
    assert counts[0] == pytest.approx(2 / 3) and counts[-1] == pytest.approx(1 / 3) and len(counts) == tool.BINS
    a, b, c = np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([0.0, 1.0])
    assert tool.distances([[a, b], [c, c]]) == (pytest.approx(0.25), pytest.approx(0.75))


def test_images_of_16_bits_are_read_as_training_reads_them(tool, tmp_path):
    ramp = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / 'deep.png')
    (image,) = tool.pictures([str(tmp_path / 'deep.png')])
    assert image.shape == (8, 8, 3) and np.abs(image[..., 0] - ramp / 257).max() <= 1


def test_mistakes_are_one_sentence(tool, tmp_path, monkeypatch, capsys):
    (tmp_path / 'text.jpg').write_text('no image')
    mistakes = {
        str(tmp_path / 'text.jpg'): 'not an image that can be read',
        '--crops=1': 'at least 2, got 1',
    }
    for argument, sentence in mistakes.items():
        monkeypatch.setattr(sys, 'argv', ['crop_histograms.py', argument])
        assert tool.main() == 2
        assert sentence in capsys.readouterr().err
