"""Every script in tools/ and benchmarks/ starts: what it imports is there, and --help says what it does."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [
    path
    for folder in ('tools', 'benchmarks')
    for path in sorted((ROOT / folder).glob('*.py'))
    if "if __name__ == '__main__':" in path.read_text() and 'argparse' in path.read_text()
]


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_help_is_there(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [str(path), '--help'])
    monkeypatch.setattr(sys, 'path', [str(path.parent), *sys.path])  # as python has it for a script
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name='__main__')
    assert not ended.value.code
    told = capsys.readouterr().out
    assert 'usage:' in told
    first = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
    assert first.split(':')[0][:40] in ' '.join(told.split())
