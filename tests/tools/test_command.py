"""What a command line tool does around its work."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from viewplug.datasets import CorruptImagesError
from viewplug.requirements import require
from viewplug.run.command import output_file, run_tool

ROOT = Path(__file__).resolve().parents[2]


LEAVING = """
import atexit, sys
from torch import distributed
from viewplug.run.command import leave

atexit.register(print, 'at exit')
if sys.argv[1] == 'group':
    distributed.init_process_group('gloo', init_method='file://' + sys.argv[2], rank=0, world_size=1)
    atexit.register(lambda: print('in a group' if distributed.is_initialized() else 'group ended'))
print('work done')
leave(int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ('group', 'status', 'said'),
    [
        ('group', 0, 'work done group ended at exit'),
        ('group', 2, 'work done in a group at exit'),
        ('alone', 0, 'work done at exit'),
        ('alone', 2, 'work done at exit'),
    ],
)
def test_leaving_runs_what_waits_for_the_exit_and_keeps_the_status(tmp_path, group, status, said):
    command = [sys.executable, '-c', LEAVING, group, str(tmp_path / 'meet'), str(status)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    assert done.stdout.split() == said.split()


@pytest.mark.parametrize('tool', ['train', 'linear_eval', 'few_labels'])
def test_tools_that_run_in_several_processes_leave_so(tool):
    assert '    leave(main())' in (ROOT / f'tools/{tool}.py').read_text().splitlines()


@pytest.mark.parametrize('tool', ['train', 'linear_eval', 'few_labels'])
def test_without_torch_they_say_what_to_install_and_no_more(tool):
    lines = ['import sys, runpy', "sys.modules['torch'] = sys.modules['mmengine'] = None"]
    code = '; '.join([*lines, f"runpy.run_path('tools/{tool}.py', run_name='__main__')"])
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith('error: viewplug needs mmengine')
    assert len(done.stderr.splitlines()) == 1


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    status = run_tool(lambda args: tmp_path.write_text('a folder'), lambda argv: argparse.Namespace(), ('torch',))
    assert status == 2 and capsys.readouterr().err == f"error: [Errno 21] Is a directory: '{tmp_path}'\n"


def test_where_a_result_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    assert output_file(tmp_path / 'new/folder/result.json').parent.is_dir()
    with pytest.raises(OSError, match='is a folder, and the result is a file'):
        output_file(tmp_path / 'new')
    monkeypatch.setattr('os.access', lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(OSError, match=rf'^{tmp_path}/result.json cannot be written: name a file .* with --out$'):
        output_file(tmp_path / 'result.json')


def test_ctrl_c_is_one_word_and_exit_code_130(capsys):
    def stopped(args):
        try:
            raise KeyboardInterrupt
        except BaseException as error:
            raise RuntimeError('a worker has gone') from error

    assert run_tool(stopped, lambda argv: argparse.Namespace(), ('torch',)) == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_a_tools_own_exit_status_is_kept_and_bad_arguments_are_one_sentence(capsys):
    def wrong(args):
        raise ValueError('key must be 1, got 2')

    assert run_tool(lambda args: 3, lambda argv: argparse.Namespace(), ('torch',)) == 3
    assert run_tool(wrong, lambda argv: argparse.Namespace(), ('torch',)) == 2
    assert capsys.readouterr().err == 'error: key must be 1, got 2\n'


def test_images_that_cannot_be_read_are_one_sentence_of_any_tool(capsys):
    def wrong(args):
        raise CorruptImagesError('9 of 12 images cannot be read')

    assert run_tool(wrong, lambda argv: argparse.Namespace(), ('torch',)) == 2
    assert capsys.readouterr().err == 'error: 9 of 12 images cannot be read\n'


@pytest.mark.parametrize(('module', 'extra'), [('mmengine', 'onedl'), ('mmdet', 'det'), ('sklearn', 'study')])
def test_what_is_missing_is_installed_from_the_clone(monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    with pytest.raises(ImportError, match=rf"^viewplug needs {module} .*: pip install .* -e '\.\[{extra}\]'"):
        require(module)
