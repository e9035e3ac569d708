from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import ConcatDataset as TorchConcat
from torch.utils.data import DataLoader, Subset

from viewplug.datasets import leaf_datasets


class Numbers(BaseDataset):
    def load_data_list(self):
        return [dict(number=i) for i in range(4)]

    def get_cat_ids(self, idx):
        return [0]


class Slice:
    """What mmengine's runner makes of a data set for ``num_batch_per_epoch``."""

    def __init__(self, dataset):
        self._dataset = dataset

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def __getitem__(self, idx):
        return self._dataset[idx]

    def __len__(self):
        return 2


def test_a_bare_data_set_is_its_own_leaf():
    numbers = Numbers()
    assert leaf_datasets(numbers) == [numbers]


def test_leaves_are_found_through_every_wrapper_in_order():
    a, b, c, d = (Numbers() for _ in range(4))
    wrappers = [RepeatDataset(a, 2), ClassBalancedDataset(b, 0.1), ConcatDataset([c]), Subset(d, [0, 1])]
    wrapped = DataLoader(Slice(TorchConcat(wrappers)), batch_size=2)
    assert leaf_datasets(wrapped) == [a, b, c, d]


def test_a_leaf_named_twice_counts_once():
    numbers = Numbers()
    assert leaf_datasets(TorchConcat([numbers, Subset(numbers, [0])])) == [numbers]


def test_what_a_data_set_holds_for_itself_is_not_a_leaf():
    numbers = Numbers()
    numbers.dataset = [1, 2, 3]
    assert leaf_datasets(numbers) == [numbers]
