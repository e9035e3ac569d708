"""Which checkpoint of a work dir is evaluated."""

import os
import shutil

import pytest
from mmengine import Config

from viewplug.evaluation.work_dir import pretraining_of


@pytest.fixture
def work_dir(tmp_path):
    """As a run leaves it: its config, two checkpoints, and the absolute path of the last."""
    folder = tmp_path / 'run'
    folder.mkdir()
    Config(dict(name='mine')).dump(folder / 'moco.py')
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        (folder / name).touch()
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    return folder


def test_a_copy_is_evaluated_on_its_own_checkpoint_as_long_as_it_has_it(work_dir, tmp_path):
    copied = tmp_path / 'copy'
    shutil.copytree(work_dir, copied)
    assert pretraining_of(copied)[1] == str(copied / 'epoch_2.pth')
    assert pretraining_of(work_dir)[1] == str(work_dir / 'epoch_2.pth')
    (copied / 'epoch_2.pth').unlink()  # as where CheckpointHook.out_dir is another folder
    assert pretraining_of(copied)[1] == str(work_dir / 'epoch_2.pth')


def test_a_moved_work_dir_is_evaluated_where_it_is(work_dir, tmp_path):
    work_dir.rename(tmp_path / 'moved')
    assert pretraining_of(tmp_path / 'moved')[1] == str(tmp_path / 'moved/epoch_2.pth')


def test_of_several_configs_the_newest_is_taken_and_said(work_dir, monkeypatch):
    said = []
    monkeypatch.setattr('viewplug.evaluation.work_dir.print_log', lambda text, *_: said.append(text))
    (older,) = work_dir.glob('*.py')
    newer = work_dir / 'newer.py'
    newer.write_text(older.read_text() + "work_dir = 'newer'\n")
    os.utime(older, (1, 1))
    assert pretraining_of(work_dir)[0].work_dir == 'newer'
    assert said == [f'{work_dir}: newer.py, the newest config, is taken, not {older.name}']


def test_a_checkpoint_that_is_asked_for_is_taken_by_its_path_or_by_its_name_in_the_work_dir(work_dir, tmp_path):
    elsewhere = tmp_path / 'epoch_1.pth'
    elsewhere.touch()
    assert pretraining_of(work_dir, str(elsewhere))[1] == str(elsewhere)
    elsewhere.unlink()
    assert pretraining_of(work_dir, 'epoch_1.pth')[1] == str(work_dir / 'epoch_1.pth')
    with pytest.raises(ValueError, match=r'has no checkpoint yet \(epoch_9.pth\)'):
        pretraining_of(work_dir, 'epoch_9.pth')
