import io
import logging
import os
from types import SimpleNamespace

import mmengine.dist as dist
import numpy as np
import pytest
from mmengine.dataset import RepeatDataset
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset

from viewplug.datasets import ImageFolder
from viewplug.hooks import CorruptImageHook


@pytest.fixture
def folder(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.randint(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, 'PNG')
    for i in range(4):
        (tmp_path / f'{i}.png').write_bytes(buffer.getvalue())
    return tmp_path


@pytest.fixture
def runner(tmp_path):
    """What the hook asks of a Runner, with the lines logged."""
    lines = []
    logger = SimpleNamespace(info=lines.append, warning=lines.append)
    return SimpleNamespace(logger=logger, lines=lines, work_dir=str(tmp_path), train_dataloader=None)


def image_folder(root):
    return ImageFolder(str(root), pipeline=[dict(type='LoadImageFromFile')], max_corrupt=None)


def test_an_epoch_is_reported_if_it_met_new_files_and_training_in_any_case(folder, runner):
    (folder / '1.png').write_bytes(b'')
    (folder / '2.png').write_bytes(b'text')
    dataset = image_folder(folder)
    runner.train_dataloader = SimpleNamespace(dataset=ConcatDataset([RepeatDataset(dataset, 2), dataset]))
    hook = HOOKS.build(dict(type='viewplug.CorruptImageHook', max_paths=1))
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    assert runner.lines == []
    dataset[1]
    hook.after_train_epoch(runner)
    hook.after_train_epoch(runner)
    assert len(runner.lines) == 1
    assert runner.lines[0].startswith('2 of 4 images could not be read so far')
    assert runner.lines[0].endswith(f'2 of them new: {folder}/1.png ...')
    hook.after_train(runner)
    assert runner.lines[1].startswith('In all, 2 of 4 images could not be read and were replaced')
    assert (folder / 'corrupt_images.txt').read_text().split() == [f'{folder}/1.png', f'{folder}/2.png']


def test_names_that_are_not_utf8_are_reported_all_the_same(folder, runner):
    with open(os.fsencode(folder) + b'/5\xe9.png', 'wb'):
        pass
    dataset = image_folder(folder)
    dataset[4]
    runner.train_dataloader = SimpleNamespace(dataset=dataset)
    hook = CorruptImageHook()
    hook.after_train_epoch(runner)
    hook.after_train(runner)
    assert all(rb'/5\xe9.png' in line.encode() for line in runner.lines) and len(runner.lines) == 2
    assert (folder / 'corrupt_images.txt').read_bytes() == os.fsencode(folder) + b'/5\xe9.png\n'


def test_readable_images_only_are_reported_as_such(folder, runner):
    runner.train_dataloader = SimpleNamespace(dataset=image_folder(folder))
    hook = CorruptImageHook()
    hook.after_train_epoch(runner)
    hook.after_train(runner)
    assert runner.lines == ['Every image visited could be read (data set of 4).']


def test_what_other_ranks_met_is_counted_once(folder, runner, monkeypatch):
    (folder / '1.png').write_bytes(b'')
    dataset = image_folder(folder)
    dataset[1]
    runner.train_dataloader = SimpleNamespace(dataset=dataset)
    monkeypatch.setattr(dist, 'all_gather_object', lambda mine: [mine, [*mine, f'{folder}/3.png']])
    CorruptImageHook().after_train_epoch(runner)
    assert runner.lines[0].startswith('2 of 4 images')


def test_without_an_image_folder_the_hook_says_nothing(runner):
    runner.train_dataloader = SimpleNamespace(dataset=[1, 2])
    hook = CorruptImageHook()
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    hook.after_train(runner)
    assert runner.lines == []


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def train_step(self, data, optim_wrapper):
        return {}


@pytest.mark.parametrize('loop', [dict(by_epoch=True, max_epochs=2), dict(by_epoch=False, max_iters=4)])
def test_a_runner_with_workers_logs_the_count(folder, tmp_path_factory, loop, monkeypatch):
    (folder / '1.png').write_bytes(b'')
    work_dir = tmp_path_factory.mktemp('work')
    lines = []
    monkeypatch.setattr(logging.Logger, 'warning', lambda self, text, *_: lines.append(str(text)))
    runner = Runner(
        model=Toy(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(
                type='viewplug.ImageFolder',
                data_root=str(folder),
                pipeline=[dict(type='LoadImageFromFile')],
            ),
            batch_size=2,
            num_workers=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=loop,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='viewplug.CorruptImageHook')],
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=f'corrupt_{loop["by_epoch"]}',
        log_level='WARNING',
    )
    runner.train()
    reports = [line for line in lines if 'could not be read' in line]
    assert [r.split(' images')[0] for r in reports] == ['1 of 4', 'In all, 1 of 4']
    assert (work_dir / 'corrupt_images.txt').read_text() == f'{folder}/1.png\n'
