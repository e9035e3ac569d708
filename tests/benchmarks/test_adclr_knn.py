"""kNN of DINO and ADCLR: a result is that of its options."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'benchmarks'))

import adclr_knn  # noqa: E402


@pytest.fixture
def trained(monkeypatch) -> list[list[str]]:
    """Pre-training that takes no time: its commands, of which the first has a kNN accuracy of 1, and so on."""
    commands = []

    def run(command, **kwargs):
        commands.append(command)
        folder = Path(command[command.index('--work-dir') + 1]) / f'{len(commands)}/vis_data'
        folder.mkdir(parents=True)
        lines = [{'knn/top1_k20': 0.0}, {'cls.kl': 0.5}, {'knn/top1_k20': float(len(commands))}]
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))

    monkeypatch.setattr(adclr_knn.subprocess, 'run', run)
    return commands


def measured(folder: Path, *arguments: str) -> list[float]:
    common = ['--methods', 'dino', '--seeds', '0', '--epochs', '2']
    adclr_knn.main([*common, '--work-dir', str(folder / 'runs'), '--out', str(folder / 'table'), *arguments])
    result = json.loads((folder / 'table.json').read_text())
    assert result['setting']['options'] == [one for one in arguments if '=' in one]
    return [row['knn'] for row in result['rows']]


def test_other_options_are_another_run_and_none_is_repeated(trained, tmp_path):
    slow, fast = ('--options', 'optim_wrapper.optimizer.lr=1e-4'), ('--options', 'optim_wrapper.optimizer.lr=1e-3')
    assert measured(tmp_path) == [1.0]
    assert measured(tmp_path, *slow) == [2.0] and trained[-1][-1] == slow[-1]
    assert measured(tmp_path, '--collect', *fast) == []
    assert measured(tmp_path, *fast) == [3.0]
    assert [measured(tmp_path), measured(tmp_path, *slow), measured(tmp_path, *fast)] == [[1.0], [2.0], [3.0]]
    assert len(trained) == 3


def test_a_result_that_does_not_say_its_options_is_not_counted(trained, tmp_path):
    measured(tmp_path)
    (result,) = tmp_path.glob('runs/*/result.json')
    row = json.loads(result.read_text())
    del row['options']
    result.write_text(json.dumps(row))
    assert measured(tmp_path, '--collect') == []
    assert measured(tmp_path) == [2.0]
