import pytest
from labelled_folders import image_folder, make_folder
from mmengine.dataset import ConcatDataset
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from viewplug.datasets import ShapeScenes
from viewplug.evaluation.classes import check_classes
from viewplug.evaluation.knn import evaluate_knn
from viewplug.registry import DATASETS


def test_equal_classes_pass_and_a_difference_is_named_with_both_folders(tmp_path):
    train = DATASETS.build(image_folder(make_folder(tmp_path / 'train')))
    same = DATASETS.build(image_folder(make_folder(tmp_path / 'same'), lazy_init=True))
    check_classes(train, same)
    fewer = DATASETS.build(image_folder(make_folder(tmp_path / 'fewer', ('dog', 'fox', 'owl')), lazy_init=True))
    with pytest.raises(ValueError, match=f'{tmp_path}/fewer.*{tmp_path}/train.*: missing cat. .*an empty one will do'):
        check_classes(train, fewer)
    with pytest.raises(ValueError, match='extra cat'):
        check_classes(fewer, train)
    with pytest.raises(ValueError, match='missing cat'):
        check_classes(train, ConcatDataset([fewer, fewer]))
    (tmp_path / 'fewer/cat').mkdir()
    check_classes(train, DATASETS.build(image_folder(tmp_path / 'fewer')))


def test_another_order_is_another_numbering_and_data_without_names_are_let_be():
    names = ShapeScenes(num_images=2, num_classes=3).metainfo['classes']
    turned = ShapeScenes(num_images=2, num_classes=3, metainfo=dict(classes=names[::-1]))
    with pytest.raises(ValueError, match=f'another order, {names[2]}.* in place of {names[0]}'):
        check_classes(ShapeScenes(num_images=2, num_classes=3), turned)
    check_classes(TensorDataset(), turned)
    check_classes(turned, TensorDataset())


def test_as_many_classes_of_which_no_name_is_common_are_one_warning(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('viewplug.evaluation.classes.print_log', lambda sentence, *_: said.append(sentence))
    ids, words = ('n01', 'n02', 'n03'), ('tench', 'goldfish', 'shark')
    train = DATASETS.build(image_folder(tmp_path / 'train', lazy_init=True, metainfo=dict(classes=ids)))
    val = dict(root=tmp_path / 'val', lazy_init=True)
    for _ in range(2):
        check_classes(train, DATASETS.build(image_folder(**val, metainfo=dict(classes=words))))
    (sentence,) = said
    assert f'{tmp_path}/val' in sentence and 'tench, goldfish, shark' in sentence and 'n01, n02, n03' in sentence
    assert 'cannot be compared' in sentence and 'set classes=' in sentence
    for classes in (words[:2], ('n01', *words[1:]), ids[::-1]):
        with pytest.raises(ValueError, match=r'set classes=\[...\] \(or metainfo='):
            check_classes(train, DATASETS.build(image_folder(**val, metainfo=dict(classes=classes))))
    assert len(said) == 1


def test_knn_compares_before_it_looks_at_an_image():
    bank, val = (DataLoader(ShapeScenes(num_images=2, num_classes=number)) for number in (3, 4))
    with pytest.raises(ValueError, match='extra'):
        evaluate_knn(nn.Module(), bank, val)
