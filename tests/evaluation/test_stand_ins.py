"""Images that cannot be read are neither counted nor shown as others."""

import pytest
import torch
from labelled_folders import image_folder, make_folder
from mmengine.dataset import ConcatDataset, RepeatDataset, default_collate
from mmengine.dist import get_rank
from processes import in_processes
from torch import nn
from torch.utils.data import ConcatDataset as TorchConcatDataset
from torch.utils.data import DataLoader, Subset, TensorDataset

from viewplug.evaluation.features import STAND_IN, extract_features
from viewplug.evaluation.knn import evaluate_knn
from viewplug.evaluation.readable_accuracy import ReadableAccuracy
from viewplug.evaluation.stand_ins import MarkedImages, is_stand_in, marked, without_stand_ins
from viewplug.registry import DATASETS


def folder(root, empty=(), **kwargs):
    """3 images a class; those of ``empty`` have no content."""
    make_folder(root, ('cat', 'dog'))
    for name in empty:
        (root / name).write_bytes(b'')
    return DATASETS.build(image_folder(root, max_corrupt=None, **kwargs))


def marks(dataset):
    return [is_stand_in(dataset[index]['data_samples']) for index in range(len(dataset))]


def test_a_sample_that_is_another_image_is_marked_in_wrappers_too(tmp_path):
    images = folder(tmp_path / 'val', ['cat/1.png', 'dog/2.png'])
    expected = [False, True, False, False, False, True]
    assert marks(marked(images)) == expected
    assert marks(marked(ConcatDataset([images, images]))) == expected * 2
    assert marks(marked(TorchConcatDataset([images, Subset(images, [1, 0]), images]))) == [
        *expected,
        *(True, False),
        *expected,
    ]
    assert marks(marked(RepeatDataset(images, 2))) == expected * 2
    assert marks(marked(Subset(images, [5, 4, 1]))) == [True, False, True]
    assert marks(marked(folder(tmp_path / 'val', ['cat/1.png', 'dog/2.png'], indices=[1, 2, 3]))) == expected[1:4]
    tensors = TensorDataset(torch.zeros(2))
    both = TorchConcatDataset([tensors, tensors])
    assert marked(both) is both and isinstance(marked(TorchConcatDataset([tensors, images])), MarkedImages)
    assert marked(tensors) is tensors and isinstance(marked(images), MarkedImages)


@pytest.mark.parametrize('workers', [0, 1])
def test_a_loader_without_them_gives_smaller_batches_and_none_for_an_empty_one(tmp_path, workers):
    images = folder(tmp_path / 'val', ['cat/0.png', 'cat/1.png', 'dog/0.png'])
    loader = without_stand_ins(DataLoader(images, 2, num_workers=workers, collate_fn=default_collate))
    sizes = [0 if batch is None else len(batch['data_samples']) for batch in loader]
    assert sizes == [0, 1, 2]


def test_a_loader_without_batches_keeps_its_order_and_gives_none_for_one(tmp_path):
    images = folder(tmp_path / 'val', ['cat/1.png'])
    found = list(without_stand_ins(DataLoader(images, batch_size=None, sampler=[5, 1, 2])))
    assert [sample and sample['data_samples'].sample_idx for sample in found] == [5, None, 2]


class Mean(nn.Module):
    """Colours as features."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 3, 1, bias=False)
        self.backbone.weight.data = torch.eye(3)[:, :, None, None]


def loader(dataset):
    return DataLoader(dataset, 2, collate_fn=default_collate)


def test_knn_counts_the_images_that_can_be_read(tmp_path):
    bank = folder(tmp_path / 'train', ['dog/1.png'])
    val = folder(tmp_path / 'val', ['cat/0.png', 'cat/1.png'])
    for index in (0, 2):  # a dog among the cats is the only mistake
        (tmp_path / f'val/dog/{index}.png').write_bytes((tmp_path / 'train/cat/0.png').read_bytes())
    said = []
    found = evaluate_knn(Mean(), loader(bank), loader(val), 1, say=said.append)
    assert found[1] == 50  # of four; 67 if the two empty files counted as the third cat
    assert [sentence.split(':')[1] for sentence in said] == [
        ' 1 of 6 images of train_dataloader cannot be read',
        ' 2 of 6 images of val_dataloader cannot be read',
    ]
    labels = extract_features(Mean(), loader(marked(val)))[1]
    assert labels.tolist() == [STAND_IN, STAND_IN, 0, 1, 1, 1]


def test_knn_of_nothing_that_can_be_read_is_a_sentence(tmp_path):
    (tmp_path / 'val/cat').mkdir(parents=True)
    val = folder(tmp_path / 'val', ['cat/0.png', 'cat/1.png', 'cat/2.png', 'dog/0.png', 'dog/1.png'])
    val = Subset(val, [0, 1])
    with pytest.raises(ValueError, match='2 of 2 images of val_dataloader cannot be read.* no other'):
        evaluate_knn(Mean(), loader(folder(tmp_path / 'train')), loader(val), 1)


def _accuracy():
    metric = ReadableAccuracy(topk=1)
    rank = get_rank()
    sample = dict(pred_score=torch.tensor([0.2, 0.8]), gt_label=torch.tensor([1]))
    metric.process(None, [dict(sample, stand_in=True), dict(sample, stand_in=bool(rank))])
    first = metric.evaluate(4)
    metric.process(None, [dict(sample, stand_in=True)])
    with pytest.raises(ValueError, match='2 of 2 images of val_dataloader cannot be read.* no other'):
        metric.evaluate(2)
    return first


def test_accuracy_of_nothing_that_can_be_read_is_an_error_of_every_process(tmp_path):
    found = {'accuracy/top1': 100.0, 'accuracy/left_out': 3}
    assert in_processes(_accuracy, tmp_path) == [found, found]


def _rank(root):
    bank = folder(root / 'train', ['cat/1.png', 'dog/0.png', 'dog/2.png'])  # 1, 3 and 5: all of the second rank's
    val = folder(root / 'val', ['cat/0.png', 'cat/1.png', 'dog/2.png'])
    said = []
    return evaluate_knn(Mean(), loader(bank), loader(val), (1, 2), say=said.append), said


def test_two_processes_leave_out_the_same_even_where_one_has_no_bank(tmp_path):
    for name in ('train', 'val'):
        folder(tmp_path / name)
    (tmp_path / 'meet').mkdir()
    single = _rank(tmp_path)
    assert single[0][1] == 100 and '3 of 6 images of train' in single[1][0] and '3 of 6 images of val' in single[1][1]
    assert in_processes(_rank, tmp_path / 'meet', tmp_path) == [single, single]
