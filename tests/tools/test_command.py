"""What a command line tool does around its work."""

import argparse
import runpy
import sys
from pathlib import Path

import pytest
from torch import distributed

from viewplug import launch
from viewplug.command import run_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def meet(tmp_path):
    """Start a process group of one, as a Runner under a launcher does."""
    where = f'file://{tmp_path}/meet'
    yield lambda args: distributed.init_process_group('gloo', init_method=where, rank=0, world_size=1)
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_a_tool_leaves_no_process_group_behind(meet):
    assert run_tool(meet, lambda argv: argparse.Namespace(), ('torch',)) == 0
    assert not distributed.is_initialized()


def test_training_leaves_no_process_group_behind(meet, monkeypatch):
    monkeypatch.setattr(launch, 'train', meet)
    monkeypatch.setattr(sys, 'argv', ['train.py', 'config.py'])
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.setenv('LOCAL_RANK', '0')  # which the tool sets
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
    assert ended.value.code == 0 and not distributed.is_initialized()


def test_a_tools_own_exit_status_is_kept_and_bad_arguments_are_one_sentence(capsys):
    def wrong(args):
        raise ValueError('key must be 1, got 2')

    assert run_tool(lambda args: 3, lambda argv: argparse.Namespace(), ('torch',)) == 3
    assert run_tool(wrong, lambda argv: argparse.Namespace(), ('torch',)) == 2
    assert capsys.readouterr().err == 'error: key must be 1, got 2\n'
