"""Processes that do not begin alike are told so before the first step, every one of them."""

from types import SimpleNamespace

import pytest
from processes import in_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from viewplug.datasets import ImageFolder
from viewplug.hooks.agreement import check_agreement


def said(folders, batch_sizes=(2, 2), epochs=(0, 0), factors=(1.0, 1.0), lrs=(0.1, 0.1)) -> str | None:
    """What check_agreement says in this process, of a run with one value of each setting in each of two processes."""
    from torch.distributed import get_rank

    rank = get_rank()
    model = DistributedDataParallel(nn.Linear(2, 2))
    model.module.weight.data.mul_(factors[rank])
    runner = SimpleNamespace(
        train_dataloader=DataLoader(ImageFolder(str(folders[rank]), pipeline=[]), batch_sizes[rank]),
        model=model,
        optim_wrapper=SimpleNamespace(get_lr=lambda: {'lr': [lrs[rank]]}),
        epoch=epochs[rank],
        iter=4 * epochs[rank],
        _load_from=f'node{rank}/epoch_1.pth' if any(epochs) else None,
    )
    try:
        return check_agreement(runner)
    except ValueError as error:
        return str(error)


def folder(path, names) -> str:
    for name in names:
        path.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        path.joinpath(name).touch()
    return str(path)


@pytest.mark.parametrize(
    ('changes', 'parts'),
    [
        (dict(batch_sizes=(2, 1)), ['different batches an epoch, 2 in process 0', ' 4 in process 1', 'batch_size']),
        (dict(epochs=(1, 0)), ['different progress, epoch 1, iteration 4 in', 'node1/epoch_1.pth', 'work_dir']),
        (dict(epochs=(1, 1), factors=(1, 1.01)), ['different weights', 'from node0/epoch_1.pth', 'load_from']),
        (dict(lrs=(0.1, 0.2)), ["different lr, {'lr': [0.1]}", "{'lr': [0.2]} in process 1", 'one config']),
    ],
)
def test_processes_that_differ_are_told_in_what(changes, parts, tmp_path):
    same = folder(tmp_path / 'images', ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg'])
    first, second = in_processes(_said_with, tmp_path, [same, same], changes)
    assert first == second and all(part in first for part in parts), first


@pytest.mark.parametrize('others', ['abc', 'abce'])  # one is missing; as many with another name
def test_another_list_of_images_on_one_node_is_an_error_of_every_process(others, tmp_path):
    folders = [folder(tmp_path / name, [f'{c}.jpg' for c in kept]) for name, kept in (('0', 'abcd'), ('1', others))]
    first, second = in_processes(said, tmp_path, folders)
    assert first == second and 'different images, 4 (fingerprint ' in first and f'and {len(others)} (' in first


def test_the_same_images_in_another_folder_are_no_difference(tmp_path):
    folders = [folder(tmp_path / name, ['x/a.jpg', 'y/b.jpg']) for name in ('here', 'there')]
    assert in_processes(said, tmp_path, folders) == [None, None]


def test_one_process_has_nobody_to_agree_with():
    check_agreement(None)


def _said_with(folders, changes):
    return said(folders, **changes)
