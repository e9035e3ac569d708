"""Tables of README and docs/ hold the numbers of benchmarks/results."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'benchmarks/results'
ROWS = {  # how many rows of a page are those of a result
    'README.md': dict(step_cost=6, view_quality=4, crop_frameworks=4, transfer_table=16),
    'docs/adclr.md': dict(adclr_cost=2, adclr_knn=2),
    'docs/configs.md': dict(step_switches=14, step_switches_avx2=8, host_memory=3),
    'docs/pretext.md': dict(pretext_knn=4, pretext_knn_16=1, pretext_knn_seeds=2),
    'docs/resim.md': dict(step_cost=5),
    'docs/simclr_study.md': dict(simclr_fig5=9, simclr_fig8=3, invariances=4, invariances_untrained=4, few_labels=3),
    'docs/transfer_protocols.md': dict(transfer_demo=6),
}


@pytest.mark.parametrize('page', ROWS)
def test_tables_have_the_rows_of_the_results(page):
    said = [numbers(row) for row in rows(ROOT / page)]
    results = {name: [numbers(row) for row in rows(RESULTS / f'{name}.md')] for name in ROWS[page]}
    found = Counter(
        name
        for mine in said
        for name, theirs in results.items()
        if len(mine) > 2 and any(in_order(mine, row) for row in theirs)
    )
    assert found == ROWS[page]


def test_ratios_over_peers_are_those_of_the_suite_and_bold_where_slower():
    text = (ROOT / 'README.md').read_text()
    table = text[text.index('| work | mmpretrain |') : text.index('Bold ratios are slower')]
    shown = re.findall(r'(\*\*)?(?<![\w.])(\d\.\d+)(?![\w.])', re.sub(r'\(.*?\)', '', table))
    measured = list(ratios(json.loads((RESULTS / 'suite.json').read_text())))
    assert len(shown) > 60
    for bold, value in shown:
        digits = len(value.partition('.')[2])
        assert any(f'{ratio:.{digits}f}' == value and (ratio > 1) == bool(bold) for ratio in measured), (bold, value)


def rows(page: Path) -> list[str]:
    return [line for line in page.read_text().splitlines() if line.startswith('|') and re.search(r'\d\.\d', line)]


def numbers(row: str) -> list[float]:
    return [float(word.replace(',', '')) for word in re.findall(r'(?<![\w.])[-+]?\d[\d,]*\.?\d*', row)]


def in_order(some: list[float], all_of_them: list[float]) -> bool:
    """A page may leave columns out."""
    rest = iter(all_of_them)
    return all(number in rest for number in some)


def ratios(found):
    if isinstance(found, dict):
        yield from [found['ratio']] if isinstance(found.get('ratio'), float) else []
    for inner in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from ratios(inner)
