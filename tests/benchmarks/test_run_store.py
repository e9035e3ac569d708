"""The file of finished runs: two processes that begin it together make one setting line."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.run_store import RunStore, share_of


def test_whoever_is_second_takes_the_setting_of_the_first(tmp_path, capsys):
    path = tmp_path / 'folder/store.jsonl'
    first, second = RunStore(path), RunStore(path)

    def meanwhile() -> dict:
        assert first.begin(dict(steps=5), lambda: dict(untrained=1)) == dict(steps=5, untrained=1)
        first.append(dict(top1=3))
        return dict(untrained=2)

    assert second.begin(dict(steps=5), meanwhile) == dict(steps=5, untrained=1)
    assert second.rows == [dict(top1=3)] and [one.name for one in path.parent.iterdir()] == ['store.jsonl']
    assert RunStore(path).begin(dict(steps=6), dict) is None
    assert 'name another --store' in capsys.readouterr().err


def test_a_report_is_of_all_rows_in_order(tmp_path):
    store = RunStore(tmp_path / 'store.jsonl')
    store.begin(dict(steps=5), dict)
    for seed in (1, 0):
        store.append(dict(seed=seed))
    seen = []
    text = store.report(
        tmp_path / 'out/name',
        lambda rows, setting: f'{rows} {setting}',
        lambda *given: seen.append(given),
        lambda r: r['seed'],
    )
    rows = [dict(seed=0), dict(seed=1)]
    assert text == f'{rows} {dict(steps=5)}' and seen == [(rows, dict(steps=5), tmp_path / 'out/name.png')]
    assert json.loads((tmp_path / 'out/name.json').read_text()) == dict(setting=dict(steps=5), rows=rows)
    assert (tmp_path / 'out/name.md').read_text() == text + '\n'


def test_shares_make_up_the_work():
    work = list(range(7))
    assert sorted(share_of(work, '1/3') + share_of(work, '2/3') + share_of(work, '3/3')) == work
