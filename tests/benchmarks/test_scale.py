"""docs/scaling.md: its tables are what the script prints, and processes move what the formulas say."""

import argparse
import json
import sys
from pathlib import Path

import pytest
import torch
from processes import in_processes

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import scale_formulas, scale_tables
from benchmarks.collective_cases import formulas
from benchmarks.traffic_counter import Counter
from viewplug.heads import CPCHead, RegionHead
from viewplug.views import ViewGeometry

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = argparse.Namespace(images_per_second=1000, nvlink=200, node_link=50, slow_link=3)
RESULTS = json.loads((ROOT / 'benchmarks/results/collectives.json').read_text())
W, N, D = 2, 3, 6
HEADS = dict(region=dict(gather=True), own_regions=dict(gather=False), cpc={}, own_cpc=dict(negatives='image'))


@pytest.mark.parametrize(
    'table',
    [
        scale_tables.table_of_steps(DEFAULTS),
        scale_tables.table_of_contrasts(),
        scale_tables.table_of_data(DEFAULTS),
        scale_tables.table_of_loader(DEFAULTS),
    ],
    ids=['steps', 'contrasts', 'data', 'loader'],
)
def test_the_page_has_the_tables_that_the_script_prints(table):
    assert f'\n\n{table}\n\n' in (ROOT / 'docs/scaling.md').read_text()


@pytest.mark.parametrize('world', [2, 4, 8])
def test_the_results_have_every_part_and_agree_with_the_formulas(world):
    rows = [row for row in RESULTS['traffic'] if row['world'] == world and 'loopback' not in row['part']]
    parameters = {row['case']: row['formula'] * world / (8 * (world - 1)) for row in rows if 'DDP' in row['part']}
    expected = formulas(world, parameters)
    counted = {(row['case'], row['part']): row['counted'] for row in rows}
    assert counted == pytest.approx({(case, part): size for case in expected for part, size in expected[case].items()})


def bytes_of_heads() -> dict[str, dict[str, float]]:
    """What each head's loss and backward move, whose target learns as SimCLR's does."""
    geometry = ViewGeometry(torch.tensor([0.0, 0, 1, 1]).repeat(N, 2, 1), torch.zeros(N, 2, dtype=torch.bool))
    found = {}
    for name, arguments in HEADS.items():
        if 'cpc' in name:
            head = CPCHead(D, offsets=(1,), **arguments)
            online, target = dict(down=torch.randn(N, D, 4, 4)), torch.randn(N, D, 4, 4, requires_grad=True)
        else:
            head = RegionHead(window=16, stride=8, downsample=8, input_size=32, feat_dim=D, **arguments)
            online, target = torch.randn(2, N, 4 * 4, D, requires_grad=True)
        with Counter() as counter:
            head.loss(online, target, geometry=geometry)['loss'].backward()
        found[name] = counter.bytes
    return found


@pytest.fixture(scope='module')
def moved(tmp_path_factory) -> dict[str, dict[str, float]]:
    return in_processes(bytes_of_heads, tmp_path_factory.mktemp('heads'), count=W)[0]


def test_heads_whose_negatives_are_gathered_and_learn_move_them_and_their_gradient(moved):
    regions, patches = scale_formulas.regions(W, N, 2 * 2, D), scale_formulas.cpc_forward(W, N, 4 * 4, D)
    assert moved['region'] == {
        'heads/region.py:loss': scale_formulas.region_counts(W),
        'heads/region.py:_negatives': regions,
        'ops/gather.py:backward': 2 * regions,
    }
    assert moved['cpc'] == {'heads/cpc.py:loss': patches, 'ops/gather.py:backward': 2 * patches}
    assert scale_formulas.cpc_backward(W, N, 4 * 4, D) == 2 * patches


def test_with_negatives_of_their_own_regions_move_a_number_a_level_and_cpc_nothing(moved):
    assert moved['own_regions'] == {'heads/region.py:loss': scale_formulas.region_counts(W)}
    assert moved['own_cpc'] == {}


def test_pages_sizes_of_resim_are_those_of_its_head():
    head = RegionHead(window=(48, 32), stride=(32, 24), downsample=(16, 8), gather=(True, False))
    for grid, sizes in zip(head.grids, (scale_formulas.C4, scale_formulas.P3), strict=True):
        assert sizes == dict(windows=grid.count**2, positions=(grid.map_size - 3 + 1) ** 2)
