import hashlib
import itertools

import pytest
from mmpretrain.registry import DATASETS

from viewplug.datasets import ClassSubset, draw_classes

NAMES = [f'n{i:08d}' for i in range(12)]


@pytest.fixture
def root(tmp_path):
    """Twelve classes; two training images and one validation image each. Contents are never opened."""
    for split, number in (('train', 2), ('val', 1)):
        for name, i in itertools.product(NAMES, range(number)):
            path = tmp_path / split / name / f'{i}.JPEG'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return tmp_path


def labels(dataset):
    return [(dataset.get_data_info(i)['img_path'].split('/')[-2], int(label)) for i, label in enumerate(_gt(dataset))]


def _gt(dataset):
    return dataset.get_gt_labels()


def test_the_drawn_classes_are_those_of_smallest_hash():
    digests = {name: hashlib.sha256(f'3:{name}'.encode()).hexdigest() for name in NAMES}
    smallest = sorted(digests.values())[:5]
    assert draw_classes(NAMES, 5, 3) == [name for name in NAMES if digests[name] in smallest]
    assert draw_classes(NAMES[::-1], 5, 3) == draw_classes(NAMES, 5, 3) != draw_classes(NAMES, 5, 4)


def test_every_class_is_drawn_about_as_often():
    counts = dict.fromkeys(NAMES, 0)
    for seed in range(2000):
        for name in draw_classes(NAMES, 3, seed):
            counts[name] += 1
    # Binomial(2000, 1/4): mean 500, sd 19.4
    assert all(abs(count - 500) < 5 * 19.4 for count in counts.values())


def test_training_and_validation_have_the_same_classes_and_labels(root):
    train, val = (ClassSubset(str(root / split), num_classes=4, class_seed=1) for split in ('train', 'val'))
    chosen = draw_classes(NAMES, 4, 1)
    assert train.metainfo['classes'] == val.metainfo['classes'] == tuple(chosen)
    assert labels(train) == [(name, label) for label, name in enumerate(chosen) for _ in range(2)]
    assert labels(val) == [(name, label) for label, name in enumerate(chosen)]


def test_the_classes_are_written_out_and_read_again_whatever_the_seed(root, tmp_path):
    path = tmp_path / 'lists/in4.txt'
    config = dict(type='viewplug.ClassSubset', data_root=str(root / 'train'), num_classes=4, classes_file=str(path))
    drawn = DATASETS.build(config)
    assert path.read_text().split() == list(drawn.metainfo['classes'])
    again = DATASETS.build(dict(config, data_root=str(root / 'val'), class_seed=9, num_classes=2))
    assert again.metainfo['classes'] == drawn.metainfo['classes']
    path.write_text('n00000007\nn00000002\n')
    assert labels(DATASETS.build(config))[::2] == [('n00000002', 0), ('n00000007', 1)]


def test_mistakes_are_named(root, tmp_path):
    with pytest.raises(ValueError, match='num_classes=13, but .* has 12 class folders'):
        ClassSubset(str(root / 'train'), num_classes=13)
    with pytest.raises(ValueError, match='num_classes must be a whole number above 0, got 0'):
        ClassSubset(str(root / 'train'), num_classes=0)
    with pytest.raises(ValueError, match='with_label=False'):
        ClassSubset(str(root / 'train'), with_label=False)
    path = tmp_path / 'classes.txt'
    path.write_text('n00000001\ntench\n')
    with pytest.raises(ValueError, match='classes.txt names tench and 0 more'):
        ClassSubset(str(root / 'train'), classes_file=str(path))
