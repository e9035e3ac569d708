"""Images of more than 8 bits a channel: which are read, and what is said."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from viewplug.datasets import CorruptImagesError, ImageFolder
from viewplug.datasets.pixel_depth import bits_per_channel

LOAD = dict(type='LoadImageFromFile')
RAMP = np.linspace(0, 1, 8 * 9 * 3, dtype=np.float32).reshape(8, 9, 3)


def tiff(tags: dict[int, list[int]], order: str, big: bool) -> io.BytesIO:
    """A header with short tags, values that do not fit behind it."""
    head, entry, inline = ('HHHQ', 'HHQ', 8) if big else ('HI', 'HHI', 4)
    fields = (43, 8, 0, 16) if big else (42, 8)
    start = (b'II' if order == '<' else b'MM') + struct.pack(order + head, *fields)
    start += struct.pack(order + ('Q' if big else 'H'), len(tags))
    end, behind = len(start) + len(tags) * (struct.calcsize(order + entry) + inline), b''
    for tag, values in tags.items():
        content = struct.pack(f'{order}{len(values)}H', *values)
        if len(content) > inline:
            content, behind = struct.pack(order + ('Q' if big else 'I'), end + len(behind)), behind + content
        start += struct.pack(order + entry, tag, 3, len(values)) + content.ljust(inline, b'\0')
    return io.BytesIO(start + behind)


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize(
    ('tags', 'bits'),
    [
        ({258: [8] * 3, 262: [2]}, 8),
        ({258: [16] * 5, 262: [2], 339: [1] * 5}, 16),
        ({258: [16], 262: [1], 339: [3]}, 32),
        ({258: [32] * 5, 262: [2], 339: [3] * 5}, 32),
        ({258: [16] * 3, 262: [32845]}, 32),
        ({262: [1]}, 1),
    ],
    ids=['8', '16', 'half', 'float', 'LogLuv', 'bilevel'],
)
def test_tiffs_of_all_byte_orders_and_sizes(tags, bits, order, big):
    assert bits_per_channel(tiff(tags, order, big)) == bits


@pytest.mark.parametrize('content', [b'', b'\xff\xd8\xff', b'II*\0\xff\xff\xff\xff', b'\x89PNG\r\n\x1a\n'])
def test_what_is_neither_png_nor_tiff_or_breaks_off_has_8_bits(content):
    assert bits_per_channel(io.BytesIO(content)) == 8


@pytest.mark.parametrize('scale', [1, 255])
def test_float_tiffs_are_corrupt_whatever_their_channels(tmp_path, scale):
    cv2.imwrite(str(tmp_path / '0.tif'), RAMP * scale)
    cv2.imwrite(str(tmp_path / '1.tif'), RAMP[..., 0] * scale)
    Image.fromarray(RAMP[..., 0] * scale).save(tmp_path / '2.tif')  # Pillow's: OpenCV makes no image of it
    dataset = ImageFolder(str(tmp_path), pipeline=[LOAD], test_mode=True)
    for index in range(3):
        with pytest.raises(CorruptImagesError, match=rf'{index}\.tif cannot be read .*floating point, which has no'):
            dataset[index]


def test_a_loader_that_does_not_reduce_to_8_bits_reads_them(tmp_path):
    cv2.imwrite(str(tmp_path / '1.tif'), RAMP[..., 0])
    load = dict(LOAD, color_type='unchanged')
    assert np.array_equal(ImageFolder(str(tmp_path), pipeline=[load])[0]['img'], RAMP[..., 0])


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_12_bits_in_16_are_remarked_once(tmp_path, monkeypatch, suffix):
    said = []
    monkeypatch.setattr('viewplug.datasets.image_folder.print_log', lambda text, *_, **__: said.append(text))
    for index, top in enumerate((65535, 4095, 4095)):
        cv2.imwrite(str(tmp_path / f'{index}.{suffix}'), (RAMP * top).astype(np.uint16))
    dataset = ImageFolder(str(tmp_path), pipeline=[LOAD])
    assert [dataset[index]['img'].max() > 16 for index in range(3)] == [True, False, False]
    assert len(said) == 1 and f'1.{suffix} is nearly black: 16 bits a channel are divided by 256' in said[0]
