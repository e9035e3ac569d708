"""Which files of a tar are images, what is said about the others, and tars that are not whole."""

import io
import os
import tarfile
import tracemalloc

import cv2
import numpy as np
import pytest

from viewplug.datasets import TarShards
from viewplug.datasets import tar_shards as module
from viewplug.datasets.image_files import EXTENSIONS
from viewplug.datasets.tar_scan import scan_tar


def pack(path, members):
    """Files of a name and a content, or of a TarInfo for what is no file."""
    with tarfile.open(path, 'w') as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
            else:
                info.size = len(content)
            tar.addfile(info, None if isinstance(content, tuple) else io.BytesIO(content))
    return path


def found(path):
    """Content and label of each image, and what was left out."""
    rows, left_out = scan_tar(path)
    content = path.read_bytes()
    return [(content[offset : offset + size].decode(), label) for offset, size, label in rows.tolist()], dict(left_out)


@pytest.mark.parametrize('extension', EXTENSIONS)
def test_images_are_those_of_a_folder(tmp_path, extension):
    path = pack(tmp_path / 'a.tar', [(f'a{extension}', b'a'), (f'b{extension.upper()}', b'b'), ('c.gif', b'c')])
    assert found(path) == ([('a', -1), ('b', -1)], {'.gif': 1})


def test_names_with_dots_are_images_and_their_labels_are_found(tmp_path):
    members = [('photo.2020.jpg', b'a'), ('photo.2021.jpg', b'b'), ('d.r/x.v2.jpg', b'c'), ('d.r/x.v2.cls', b'1')]
    assert found(pack(tmp_path / 'a.tar', [*members, ('photo.cls', b'2'), ('photo.2021.cls', b'3')])) == (
        [('a', 2), ('b', 3), ('c', 1)],
        {},
    )


def test_a_sample_with_an_image_of_one_dot_has_that_one_whatever_comes_first(tmp_path):
    members = [('0.depth.png', b'x'), ('0.jpg', b'a'), ('0.png', b'y'), ('0.cls', b'4'), ('0.seg.npy', b'z')]
    left_out = {'.depth.png beside .jpg': 1, '.png beside .jpg': 1}
    assert found(pack(tmp_path / 'a.tar', members)) == ([('a', 4)], left_out)


def test_files_beside_an_image_do_not_count_as_left_out_and_others_do(tmp_path):
    members = [('0.jpg', b'a'), ('0.json', b'{}'), ('1.v2.jpg', b'b'), ('1.v2.txt', b''), ('1.v3.GIF', b'')]
    members += [('2.gif', b''), ('2.cls', b'1'), ('README', b''), ('.hidden.gif', b''), ('sub', (tarfile.DIRTYPE, ''))]
    assert found(pack(tmp_path / 'a.tar', members)) == ([('a', -1), ('b', -1)], {'.gif': 2, '': 1})


def test_hard_links_are_the_files_that_they_link_to(tmp_path):
    members = [('a.jpg', b'a'), ('a.cls', b'7'), ('b.jpg', (tarfile.LNKTYPE, 'a.jpg'))]
    members += [('b.cls', (tarfile.LNKTYPE, 'a.cls')), ('c.jpg', (tarfile.LNKTYPE, 'b.jpg'))]
    members += [('d.jpg', (tarfile.SYMTYPE, 'a.jpg')), ('e.jpg', (tarfile.LNKTYPE, 'elsewhere.jpg'))]
    path = pack(tmp_path / 'a.tar', members)
    assert found(path) == ([('a', 7), ('a', 7), ('a', -1)], {'.jpg links': 2})


def test_names_of_whole_samples_are_not_kept(tmp_path):
    """Peak memory an image: its row and its key, also where labels and captions come first."""
    number = 2000
    kinds = ('caption.txt', 'cls', 'jpg', 'json')
    path = pack(tmp_path / 'a.tar', [(f'train/{n:09d}.{kind}', b'1') for n in range(number) for kind in kinds])
    tracemalloc.start()
    rows, left_out = scan_tar(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == number and (rows[:, 2] == 1).all() and not left_out
    assert peak / number < 300


@pytest.mark.parametrize('order', [1, -1], ids=['first', 'last'])
def test_what_a_sample_is_does_not_depend_on_where_its_files_stand(tmp_path, order):
    images = [('0.v2.jpg', b'x'), ('0.jpg', b'a'), ('1.v2.jpg', b'b')]
    others = [('0.cls', b'3'), ('1.cls', b'4'), ('1.v2.cls', b'5')]
    others += [('0.v2.txt', b''), ('1.txt', b''), ('1.v3.txt', b'')]
    path = pack(tmp_path / 'a.tar', [*others, *images][::order])
    assert (sorted(found(path)[0]), found(path)[1]) == ([('a', 3), ('b', 5)], {'.v2.jpg beside .jpg': 1, '.txt': 1})


@pytest.mark.parametrize('cut', [1024, 1024 + 100, 1024 + 512, 1024 + 513], ids=['border', 'header', 'data', 'padding'])
def test_a_tar_that_breaks_off_is_refused(tmp_path, cut):
    path = pack(tmp_path / 'a.tar', [('0.jpg', b'a'), ('1.jpg', b'b')])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match='a.tar (breaks off after 1 files|is no uncompressed tar file)'):
        scan_tar(path)


def test_a_broken_header_is_refused_and_a_whole_tar_without_its_end_can_be_mended(tmp_path):
    path = pack(tmp_path / 'a.tar', [('0.jpg', b'a'), ('1.jpg', b'b'), ('2.jpg', b'c')])
    whole = path.read_bytes()
    path.write_bytes(whole[:1024] + b'x' * 512 + whole[1536:])
    with pytest.raises(ValueError, match='breaks off after 1 files'):
        scan_tar(path)
    path.write_bytes(whole[:3072])
    with pytest.raises(ValueError, match=r'breaks off after 3 files.*truncate -s \+1024'):
        scan_tar(path)
    os.truncate(path, 3072 + 1024)
    assert [content for content, _ in found(path)[0]] == ['a', 'b', 'c']


def test_what_is_left_out_is_said_at_every_start_and_by_one_rank(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, *args, **kwargs: said.append(text))
    for shard in range(2):
        pack(tmp_path / f'{shard}.tar', [('0.jpg', b''), ('1.gif', b''), ('2.gif', b''), ('e\udce9.x\udce9', b'')])
    line = rf'viewplug.TarShards: 2 images in 2 tar files of {tmp_path}; left out: 4 .gif, 2 .x\xe9'
    for _ in range(2):  # the second time from the index
        TarShards(str(tmp_path))
    assert said == [line, line]
    monkeypatch.setattr(module, 'is_main_process', lambda: False)
    TarShards(str(tmp_path))
    assert len(said) == 2


def test_many_kinds_fit_into_the_index(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, *args, **kwargs: said.append(text))
    names = ['0.jpg', '1.gif', '2.gif', *(f'{n}.{chr(945 + n) * 60}' for n in range(3, 15))]
    pack(tmp_path / '0.tar', [(name, b'') for name in names])
    assert len(TarShards(str(tmp_path))) == 1
    assert said[0].endswith('left out: 12 others, 2 .gif')


def test_floating_point_is_not_decoded_and_12_bits_are_remarked_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, *args, **kwargs: said.append(text))
    ramp = np.linspace(0, 1, 4 * 4 * 3, dtype=np.float32).reshape(4, 4, 3)
    images = {'0.tif': ramp, '1.png': (ramp * 4095).astype(np.uint16), '2.png': (ramp * 4095).astype(np.uint16)}
    pack(tmp_path / 'a.tar', [(n, cv2.imencode(n[1:], image)[1].tobytes()) for n, image in images.items()])
    dataset = TarShards(str(tmp_path), test_mode=True)
    with pytest.raises(ValueError, match='image 0.*floating point'):
        dataset[0]
    dataset[1], dataset[2]
    assert len(said) == 1 and 'image 1 in' in said[0] and 'nearly black' in said[0]
