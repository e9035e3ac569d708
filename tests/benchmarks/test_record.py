"""What benchmarks leave on disk."""

import json
from pathlib import Path

import pytest
from pretend_gpu import pretend_gpu

from benchmarks.record import RESULTS, default_out, device_name, write


def test_numbers_of_a_gpu_do_not_replace_a_cpus_and_say_which_it_was():
    assert default_out('growth', 'cpu') == RESULTS / 'growth' and (RESULTS / 'growth.json').exists()
    assert default_out('growth', 'cuda') == default_out('growth', 'cuda:0') == RESULTS / 'growth_cuda'
    with pretend_gpu():
        assert device_name('cpu') == 'cpu' and device_name('cuda') == 'a pretended GPU'


def test_numbers_and_table_lie_side_by_side_in_a_folder_made_for_them(tmp_path):
    write(tmp_path / 'new/cost', dict(rows=[1.5]), '| a |\n')
    assert json.loads((tmp_path / 'new/cost.json').read_text()) == dict(rows=[1.5])
    assert (tmp_path / 'new/cost.md').read_text() == '| a |\n'
    assert len(list((tmp_path / 'new').iterdir())) == 2


def test_a_crash_while_writing_leaves_what_was_there(tmp_path, monkeypatch):
    write(tmp_path / 'cost', dict(rows=[1]), '| a |')

    def half(self, text):
        with self.open('w') as file:
            file.write(text[: len(text) // 2])
        raise OSError

    monkeypatch.setattr(Path, 'write_text', half)
    with pytest.raises(OSError):
        write(tmp_path / 'cost', dict(rows=[2]), '| b |')
    assert json.loads((tmp_path / 'cost.json').read_text()) == dict(rows=[1])
    assert (tmp_path / 'cost.md').read_text() == '| a |\n'
