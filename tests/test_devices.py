"""--device of the tools and benchmarks."""

import argparse
import re
from pathlib import Path

import pytest
import torch

from viewplug.devices import usable_device

ROOT = Path(__file__).resolve().parents[1]
OPTION = re.compile(r"add_argument\('--device',([^)]*)\)")


@pytest.mark.parametrize('name', ['cudaa', 'meta', '', 'cuda:99'])
def test_a_device_that_cannot_compute_is_one_sentence_with_those_that_can(name, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--device', type=usable_device)
    with pytest.raises(SystemExit):
        parser.parse_args(['--device', name])
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(rf"--device: torch cannot compute on '{name}' \(.+\); this machine has cpu", said)


def test_a_device_is_named_as_asked_and_auto_is_a_gpu_if_there_is_one(monkeypatch):
    assert usable_device('cpu') == 'cpu'
    for there, chosen in ((True, 'cuda'), (False, 'cpu')):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda there=there: there)
        assert usable_device('auto') == chosen


def test_every_program_with_a_device_asks_the_same():
    files = [*ROOT.glob('tools/*.py'), *ROOT.glob('benchmarks/*.py')]
    options = [found for path in files for found in OPTION.findall(path.read_text())]
    assert len(options) > 8 and all('type=usable_device' in option for option in options)
