"""The fingerprint of a data set: what changes it, and what a resumed run makes of that."""

import io
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, RepeatDataset
from processes import in_processes
from torch.utils.data import ConcatDataset as TorchConcat
from toy_localization import HEIGHT, WIDTH, Spots, boxes_of, pipeline, run, spot
from toy_runs import log_of

from viewplug.box_store import BoxStore
from viewplug.datasets import ClassSubset, ImageFolder, InMemoryDataset, ShapeScenes, TarShards
from viewplug.hooks import image_fingerprint as module
from viewplug.hooks.box_targets import BoxTargets
from viewplug.hooks.image_fingerprint import image_fingerprint, paths_below_common_folder

LATE = dict(start=9, interval=1)
OTHER = 'boxes for [8] images, and this run has other data sets (as many images, but other ones or in another order)'


def picture(number):
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    x0, y0, x1, y1 = spot(number)
    image[y0:y1, x0:x1] = 250
    return cv2.imencode('.png', image)[1].tobytes()


@pytest.fixture
def root(tmp_path):
    """b/1.png to b/4.png and c/5.png to c/8.png."""
    for number in range(1, 9):
        path = tmp_path / 'data' / 'bc'[number > 4] / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return tmp_path / 'data'


def folder(root, **changes):
    steps = pipeline(before=[dict(type='LoadImageFromFile')], **changes)
    return ImageFolder(str(root), pipeline=steps, serialize_data=False)


def swap(root):
    """As many files, of which the first is new and the last has gone: all others have the next number."""
    (root / 'a.png').write_bytes(picture(9))
    (root / 'c' / '8.png').unlink()


class Listed(BaseDataset):
    """Its list is given."""

    def __init__(self, infos, **kwargs):
        self.infos = infos
        super().__init__(**kwargs)

    def load_data_list(self):
        return list(self.infos)


def of_list(*infos, **kwargs):
    return image_fingerprint(Listed(infos, serialize_data=False, **kwargs))


def of_paths(*paths):
    return of_list(*(dict(img_path=path) for path in paths))


def test_a_folder_that_is_moved_and_renamed_keeps_its_boxes(root, tmp_path):
    run(tmp_path / 'run', [dict(start=0, interval=9, threshold=0.5)], folder(root), epochs=1)
    shutil.move(root, tmp_path / 'elsewhere' / 'images')
    moved = folder(tmp_path / 'elsewhere' / 'images')
    run(tmp_path / 'run', [LATE], moved, epochs=2, resume=True)
    saved = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=False)['localization']
    assert np.array_equal(boxes_of(moved), saved['boxes']) and not np.array_equal(saved['boxes'][0], [0, 0, 1, 1])
    assert 'other data sets' not in log_of(tmp_path / 'run')


def test_a_swapped_file_drops_the_boxes_with_a_warning(root, tmp_path):
    run(tmp_path / 'run', [dict(start=0, interval=9, threshold=0.5)], folder(root), epochs=1)
    swap(root)
    changed = folder(root)
    run(tmp_path / 'run', [LATE], changed, epochs=2, resume=True)
    assert OTHER in log_of(tmp_path / 'run')
    assert boxes_of(changed) is None


def test_boxes_of_other_images_do_not_come_back_from_a_store_with_a_path_either(root, tmp_path):
    store = str(tmp_path / 'boxes.npy')
    run(tmp_path / 'run', [dict(start=0, interval=9, threshold=0.5)], folder(root, store=store), epochs=1)
    assert BoxStore(store).read_all()[0].tolist() != [0, 0, 1, 1]
    swap(root)
    run(tmp_path / 'run', [LATE], folder(root, store=store), epochs=2, resume=True)
    assert BoxStore(store).read_all() is None


def test_a_checkpoint_without_a_fingerprint_is_restored(root, tmp_path):
    run(tmp_path / 'run', [dict(start=0, interval=9, threshold=0.5)], folder(root), epochs=1)
    path = tmp_path / 'run/epoch_1.pth'
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint['localization']['images']
    torch.save(checkpoint, path)
    swap(root)
    changed = folder(root)
    run(tmp_path / 'run', [LATE], changed, epochs=2, resume=True)
    assert np.array_equal(boxes_of(changed), checkpoint['localization']['boxes'])


def test_each_data_set_inside_wrappers_has_its_own_fingerprint(root):
    def targets(first, number=4):
        second = Spots(number, first=first, pipeline=pipeline())
        return BoxTargets(TorchConcat([folder(root), RepeatDataset(second, 2)]))

    before = targets(first=0)
    before.write(torch.rand(12, 4))
    state = before.state()
    assert [len(text) for text in state['images']] == [32, 32] and len(set(state['images'])) == 2
    same, other, longer = targets(first=0), targets(first=1), targets(first=0, number=5)
    assert same.restore(state) and torch.equal(same.read(), state['boxes'])
    assert not other.restore(state) and not other.written
    assert not longer.restore(state) and longer.unlike(state) == '[8, 5] images'


def test_it_is_made_once_a_run(monkeypatch):
    calls = []
    monkeypatch.setattr('viewplug.hooks.box_targets.image_fingerprint', lambda leaf: calls.append(leaf) or 'same')
    targets = BoxTargets(Spots(pipeline=pipeline()))
    assert targets.restore(targets.state()) and targets.state()['images'] == ['same']
    assert len(calls) == 1


def test_scenes_are_told_by_their_settings_and_numbers():
    settings = [{}, dict(seed=1), dict(split='val'), dict(num_classes=3), dict(upright=True), dict(image_size=48)]
    settings += [dict(num_backgrounds=1), dict(objects_per_image=(1, 2)), dict(indices=[*range(1, 40), 0])]
    small = dict(image_size=32, object_scale=(0.3, 0.45))
    found = [image_fingerprint(ShapeScenes(40, **{**small, **setting})) for setting in settings]
    found.append(image_fingerprint(ShapeScenes(41, **small)))
    assert len(set(found)) == len(found)
    again = ShapeScenes(40, **small, preload=True, serialize_data=False, metainfo=dict(note='another'))
    assert image_fingerprint(again) == found[0]


def test_pixels_count_where_the_list_holds_them_and_labels_nowhere():
    images = [np.full((2, 2, 3), value, np.uint8) for value in range(4)]
    infos = [dict(img=image, gt_label=0) for image in images]
    text = of_list(*infos)
    assert text == of_list(*(dict(info, gt_label=1) for info in infos))
    assert text != of_list(*infos[1:], infos[0]) and text != of_list(*infos[:3])
    assert text == of_list(*(dict(info, img=torch.from_numpy(info['img'])) for info in infos))


def test_numbers_and_texts_count_where_there_are_no_paths():
    rows = [dict(part='train', row=row, gt_label=0) for row in range(3)]  # STL10
    assert len({of_list(*rows), of_list(*rows[::-1]), of_list(*(dict(row, part='test') for row in rows))}) == 3
    files = [[dict(file=f'{place}/{name}', mask=mask) for name, mask in (('a', None), ('b', 7))] for place in 'xy']
    assert of_list(*files[0]) == of_list(*files[1])


def test_only_the_length_counts_where_a_data_set_keeps_no_list():
    class Computed(BaseDataset):
        def full_init(self):
            self._fully_initialized = True

        def __len__(self):
            return self.number

    def of(number):
        dataset = Computed(lazy_init=True)
        dataset.number = number
        return image_fingerprint(dataset)

    assert of(3) == of(3) != of(4)
    assert of_list({}, {}) == of_list({}, dict(instances=[object()])) != of_list({})


def test_paths_are_those_below_the_folder_they_share():
    paths = ['/data/a/x.png', '/data/a/y.png', '/data/b/x.png']
    below = ['a/x.png', 'a/y.png', 'b/x.png']
    assert paths_below_common_folder(paths) == below
    assert paths_below_common_folder([Path(path) for path in paths]) == below
    assert paths_below_common_folder([path.replace('/', '\\') for path in paths]) == below
    assert paths_below_common_folder([f's3://bucket{path}' for path in paths]) == below
    assert paths_below_common_folder(['/data/a/x.png']) == ['x.png'] and paths_below_common_folder([]) == []
    assert len({of_paths(*paths), of_paths(*paths[::-1]), of_paths('/data/a/x.png', '/data/b/y.png', paths[2])}) == 3
    assert of_paths(*paths) == of_paths(*(path.replace('data', 'mnt/d') for path in paths))
    assert of_paths('a/\udcff.png', 'b') != of_paths('a/\udcfe.png', 'b')  # names that are no UTF-8


def test_serialised_lists_subsets_and_data_sets_in_memory_agree_with_plain_ones(root):
    text = image_fingerprint(folder(root))
    load = [dict(type='LoadImageFromFile'), dict(type='viewplug.ContrastiveCrop', scale=16)]
    serialised = ImageFolder(str(root), pipeline=load)
    assert image_fingerprint(serialised) == text
    assert BoxTargets(InMemoryDataset(serialised, device='cpu')).images == [text]
    assert image_fingerprint(serialised.get_subset([1, 0, 2, 3, 4, 5, 6, 7])) != text
    one, both = (ClassSubset(str(root), num_classes=number, serialize_data=False) for number in (1, 2))
    assert image_fingerprint(both) == text != image_fingerprint(one)


def test_shards_are_told_by_name_size_and_number_and_not_opened(tmp_path, monkeypatch):
    def pack(folder, *shards):
        folder.mkdir(parents=True)
        for place, names in enumerate(shards):
            with tarfile.open(folder / f'{place}.tar', 'w') as tar:
                for name in names:
                    info = tarfile.TarInfo(f'{name}.png')
                    info.size = len(picture(1))
                    tar.addfile(info, io.BytesIO(picture(1)))
        return TarShards(str(folder))

    monkeypatch.setattr(TarShards, 'get_data_info', None)
    text = image_fingerprint(pack(tmp_path / 'a', '01', '234'))
    assert image_fingerprint(pack(tmp_path / 'moved' / 'b', '01', '234')) == text
    assert image_fingerprint(pack(tmp_path / 'c', '012', '34')) != text
    (tmp_path / 'c' / '0.tar').rename(tmp_path / 'c' / '2.tar')
    assert image_fingerprint(TarShards(str(tmp_path / 'c'))) != text


def test_a_large_list_is_looked_at_here_and_there(monkeypatch):
    places = [module._spaced(number, 4096) for number in (0, 1, 4096, 1_281_167)]
    assert [len(found) for found in places] == [0, 1, 4096, 4096]
    steps = np.diff(places[-1])
    assert places[-1][0] == 0 and places[-1][-1] == 1_281_166 and set(steps.tolist()) == {312, 313}

    monkeypatch.setattr(module, 'MOST', 9)
    paths = [f'r/{number:03d}' for number in range(100)]
    text = of_paths(*paths)
    assert of_paths('r/0', *paths[:-1]) != text  # all shifted
    assert of_paths(*paths[:-1], 'r/9') != text
    assert of_paths(*paths[:40], 'r/0395', *paths[40:98], paths[99]) != text
    assert of_paths(*paths[:-1]) != text  # the length


def of_rank(root):
    return BoxTargets(folder(root)).images


def test_every_process_finds_the_same(root, tmp_path):
    first, second = in_processes(of_rank, tmp_path, str(root))
    assert first == second == BoxTargets(folder(root)).images
