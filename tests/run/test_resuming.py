"""Which checkpoint a run goes on from."""

import os
import shutil

import pytest
import torch
from mmengine import Config

from viewplug.config.training_data import UserError
from viewplug.run.resuming import check_whole, is_last, latest_checkpoint, resume_from


@pytest.fixture
def work_dir(tmp_path):
    folder = tmp_path / 'work'
    folder.mkdir()
    for epoch in (1, 2):
        torch.save(dict(epoch=epoch), folder / f'epoch_{epoch}.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    return folder


def test_a_copied_or_moved_folder_has_its_own_checkpoints(work_dir, tmp_path):
    shutil.copytree(work_dir, tmp_path / 'copy')
    assert latest_checkpoint(work_dir) == str(work_dir / 'epoch_2.pth')
    assert latest_checkpoint(tmp_path / 'copy') == str(tmp_path / 'copy/epoch_2.pth')
    work_dir.rename(tmp_path / 'moved')
    assert latest_checkpoint(tmp_path / 'moved') == str(tmp_path / 'moved/epoch_2.pth')
    assert latest_checkpoint(work_dir) is None


@pytest.mark.parametrize('where', ['auto', 'FOLDER', 'FILE'])
def test_resume_takes_the_latest_a_folders_or_a_file(where, work_dir):
    cfg = Config(dict(work_dir=str(work_dir), load_from='stage1.pth'))
    resume_from(cfg, dict(FOLDER=str(work_dir), FILE=str(work_dir / 'epoch_1.pth')).get(where, where))
    assert cfg.resume is True
    assert cfg.load_from == str(work_dir / ('epoch_1.pth' if where == 'FILE' else 'epoch_2.pth'))


def test_without_a_checkpoint_yet_it_starts_from_the_beginning(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path / 'none'), load_from='stage1.pth'))
    resume_from(cfg, 'auto')
    assert cfg.load_from == 'stage1.pth' and 'resume' not in cfg


def test_a_file_cut_short_is_told_from_old_and_new_ones(work_dir, tmp_path):
    torch.save(dict(a=torch.zeros(3)), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    for path in (tmp_path / 'old.pth', work_dir / 'epoch_1.pth'):
        check_whole(str(path), 'load_from=')
    cut = work_dir / 'epoch_2.pth'
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(UserError, match=r'^load_from=.*epoch_2\.pth: .*cut short.*epoch_1\.pth is whole'):
        check_whole(str(cut), 'load_from=')


BEST = dict(type='CheckpointHook', filename_tmpl='best_{}.pth')
ITERATIONS = dict(type='CheckpointHook', by_epoch=False)


@pytest.mark.parametrize(
    ('hooks', 'names'),
    [
        ({}, ['epoch_4.pth']),
        (dict(custom_hooks=[BEST]), ['best_4.pth', 'epoch_4.pth']),
        (
            dict(default_hooks=dict(checkpoint=dict(type='MyCheckpointHook')), custom_hooks=[BEST]),
            ['best_4.pth', 'epoch_4.pth'],
        ),
        (dict(default_hooks=dict(checkpoint=None), custom_hooks=[BEST]), ['best_4.pth']),
        (dict(default_hooks=dict(checkpoint=ITERATIONS)), ['iter_12.pth']),
        (dict(custom_hooks=[dict(ITERATIONS, **BEST)]), ['best_12.pth', 'epoch_4.pth']),
    ],
    ids=str,
)
def test_the_last_checkpoint_is_the_default_hooks_or_a_further_ones_of_the_last_epoch_or_iteration(
    hooks, names, tmp_path
):
    cfg = Config(dict(hooks, train_cfg=dict(max_epochs=4)))
    all_names = [f'{kind}_{number}.pth' for kind in ('best', 'epoch', 'iter') for number in (3, 4, 12)]
    for name in all_names:
        torch.save(dict(message_hub=dict(runtime_info=dict(max_epochs=4, max_iters=12))), tmp_path / name)
    assert [name for name in all_names if is_last(str(tmp_path / name), cfg)] == names


@pytest.mark.parametrize('noted', [dict(max_epochs=3, max_iters=12), {}])
def test_the_last_iteration_of_a_run_of_other_or_unknown_length_is_not_the_last(noted, tmp_path):
    cfg = Config(dict(default_hooks=dict(checkpoint=ITERATIONS), train_cfg=dict(max_epochs=4)))
    torch.save(dict(message_hub=dict(runtime_info=noted)), tmp_path / 'iter_12.pth')
    torch.save(dict(meta={}), tmp_path / 'iter_None.pth')
    assert not any(is_last(str(tmp_path / name), cfg) for name in ('iter_12.pth', 'iter_None.pth'))


@pytest.mark.parametrize('note', [None, ''])
def test_where_no_note_tells_the_latest_the_newest_whole_one_is_gone_on_from(note, work_dir):
    """A disk that was full leaves the note empty: starting anew would overwrite the checkpoints."""
    (work_dir / 'last_checkpoint').unlink()
    if note is not None:
        (work_dir / 'last_checkpoint').write_text(note)
    for age, epoch in enumerate((3, 2, 1)):
        torch.save(dict(epoch=epoch), work_dir / f'epoch_{epoch}.pth')
        os.utime(work_dir / f'epoch_{epoch}.pth', (1e9 - age, 1e9 - age))
    (work_dir / 'epoch_3.pth').write_bytes(b'PK cut short')
    cfg = Config(dict(work_dir=str(work_dir)))
    resume_from(cfg, 'auto')
    assert cfg.resume is True and cfg.load_from == str(work_dir / 'epoch_2.pth')


def test_a_note_of_a_checkpoint_that_is_gone_names_another(work_dir):
    (work_dir / 'epoch_2.pth').unlink()
    with pytest.raises(UserError, match=r'epoch_2\.pth: no such checkpoint; .*epoch_1\.pth is whole'):
        resume_from(Config(dict(work_dir=str(work_dir))), 'auto')


def test_nor_is_a_longer_runs_checkpoint_the_last_of_a_shorter_one(tmp_path):
    cfg = Config(dict(train_cfg=dict(max_epochs=2)))
    for noted, last in (
        (dict(max_epochs=4, max_iters=12), False),
        (dict(max_epochs=2), True),
        (None, True),
        ([], True),
    ):
        torch.save(dict(message_hub=dict(runtime_info=noted)), tmp_path / 'epoch_2.pth')
        assert is_last(str(tmp_path / 'epoch_2.pth'), cfg) is last


def test_a_cut_checkpoint_is_not_the_last_iteration_whatever_numbers_look_like(tmp_path):
    hook = dict(ITERATIONS, filename_tmpl='iter_{:06d}.pth')
    (tmp_path / 'iter_000012.pth').write_bytes(b'PK cut')
    cfg = Config(dict(default_hooks=dict(checkpoint=hook), train_cfg=dict(max_epochs=4)))
    assert not is_last(str(tmp_path / 'iter_000012.pth'), cfg)
