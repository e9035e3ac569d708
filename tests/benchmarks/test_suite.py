"""The benchmark suite: its arithmetic, that everybody does the same work, and that nobody is left out of the report."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from pretend_gpu import pretend_gpu
from processes import in_processes

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.__main__ import main
from benchmarks.suite import SECTIONS, memory, report, timing, view_pipelines
from benchmarks.suite.contest import Contest, Contestant, Setting, contests_of
from benchmarks.suite.hold import hold, row
from benchmarks.suite.plot import plot
from benchmarks.suite.step_models import CONFIGS
from benchmarks.suite.views_in_batch import batch_views, kornia_views

QUICK = Setting(threads=1, quick=True)
PEERS = dict(
    mmpretrain=view_pipelines.mmpretrain_views,
    torchvision=view_pipelines.torchvision_views,
    v2=view_pipelines.v2_views,
    lightly=view_pipelines.lightly_views,
    kornia=kornia_views,
)
OPTIONAL = ('lightly', 'kornia')


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.diary: list[str] = []

    def __call__(self) -> float:
        return self.now

    def worker(self, name: str, *seconds: float):
        """Takes ``seconds`` in turn, then the last for ever."""
        queue = list(seconds)

        def work():
            self.diary.append(name)
            self.now += queue.pop(0) if len(queue) > 1 else queue[0]

        return work


def needs(peer: str) -> None:
    if peer in OPTIONAL:
        pytest.importorskip(peer)


def test_contestants_take_turns_and_warm_up_rounds_do_not_count():
    clock = Clock()
    works = dict(a=clock.worker('a', 50, 40, 1), b=clock.worker('b', 70, 30, 2), c=clock.worker('c', 3))
    times = timing.race(works, seconds=0, clock=clock)
    assert times == dict(a=[1.0] * 5, b=[2.0] * 5, c=[3.0] * 5)
    assert ''.join(clock.diary) == 'abcabc' + 'abc' + 'bca' + 'cab' + 'abc' + 'bca'


@pytest.mark.parametrize(('seconds', 'rounds'), [(0, 5), (36, 12), (1e6, 40)])
def test_rounds_fill_the_time_between_the_least_and_the_most(seconds, rounds):
    clock, said = Clock(), []
    times = timing.race(
        dict(a=clock.worker('a', 1), b=clock.worker('b', 2)), seconds, said=lambda *of: said.append(of), clock=clock
    )
    assert [len(found) for found in times.values()] == [rounds, rounds]
    assert said == [(number + 1, rounds) for number in range(rounds)]


def test_short_work_is_repeated_within_a_round_and_its_time_is_that_of_one_call():
    clock = Clock()
    times = timing.race(dict(a=clock.worker('a', 0.0625), b=clock.worker('b', 1)), 0, clock=clock, shortest=0.25)
    assert times == dict(a=[0.0625] * 5, b=[1.0] * 5)
    assert clock.diary[4:9] == list('aaaab')


def test_a_ratio_is_of_the_same_round_and_of_one_item():
    mine, theirs = [1.0, 20.0, 3.0, 4.0, 5.0], [1.0, 10.0, 1.0, 1.0, 1.0]  # round 2 was slow for both
    ratio = timing.ratio(mine, theirs)
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 3.0, 4.0)
    # Four times the items in the same time.
    assert timing.ratio(mine, theirs, items=(8, 2)).median == 0.75


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with timing.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def losses_of(key: str) -> dict:
    contest = next(contest for contest in contests_of('losses', QUICK) if contest.key == key)
    return {one.name: one for one in contest.contestants}


@pytest.mark.parametrize('peer', ['mmpretrain', 'lightly'])
@pytest.mark.parametrize('key', ['queue_short', 'queue_long', 'in_batch', 'cosine_narrow', 'cosine_wide'])
def test_losses_of_the_peers_and_their_gradients_are_ours(key, peer):
    needs(peer)
    entrants = losses_of(key)
    mine, theirs = entrants['viewplug'].build(), entrants[peer].build()
    seen = []
    for _ in range(10):  # the queue wraps round
        seen.append(mine().item())
        assert seen[-1] == pytest.approx(theirs().item(), abs=1e-5)
        assert torch.allclose(mine.online.grad, theirs.online.grad, atol=1e-5)
        assert mine.online.grad.abs().max() > 1e-3
        assert (mine.target.grad is None) == (theirs.target.grad is None) == (key != 'in_batch')
        if key == 'in_batch':
            assert torch.allclose(mine.target.grad, theirs.target.grad, atol=1e-5)
    assert len(set(seen)) > 1 if key.startswith('queue') else len(set(seen)) == 1


@pytest.mark.parametrize('key', ['dino', 'ibot'])
def test_losses_of_prototypes_and_their_gradients_are_lightlys(key):
    needs('lightly')
    entrants = losses_of(key)
    mine, theirs = entrants['viewplug'].build(), entrants['lightly'].build()
    seen = []
    for _ in range(4):
        seen.append(mine().item())
        assert seen[-1] == pytest.approx(theirs().item(), abs=1e-5)
        assert torch.allclose(mine.online.grad, theirs.online.grad, atol=1e-6)
        assert mine.online.grad.abs().max() > 1e-3 and mine.target.grad is None
    assert len(set(seen)) == 4  # the centre moves


STEPS = {contest.key: contest for contest in contests_of('steps', QUICK)}


def test_steps_of_dino_made_of_lightlys_parts_are_ours():
    needs('lightly')
    steps = [one.build() for one in STEPS['dino_224'].contestants]
    for step in steps:
        step.model.double()
        step.views = [view.double() for view in step.views]
    losses = [[step().item() for _ in range(4)] for step in steps]
    assert len(losses) == 3 and len(set(losses[0])) == 4
    for theirs in losses[1:]:
        assert losses[0] == pytest.approx(theirs, abs=1e-6)
    sizes = [sorted(p.numel() for group in step.optimizer.param_groups for p in group['params']) for step in steps]
    assert sizes[0] == sizes[1] == sizes[2]


@pytest.mark.parametrize('contest', [STEPS[key] for key in STEPS if key != 'dino_224'], ids=lambda contest: contest.key)
def test_steps_of_mmpretrain_are_ours(contest):
    steps = [one.build() for one in contest.contestants]
    for step in steps:
        step.model.double()
        step.views = [view.double() for view in step.views]
    shift = 4 if 'BYOL' in contest.work else 0  # 2 - 2 cos in both directions, against mmpretrain's -2 cos
    losses = [[step().item() for _ in range(3)] for step in steps]
    assert losses[0] == pytest.approx([loss + shift for loss in losses[1]], abs=1e-5)
    assert len(set(losses[0])) == 3
    sizes = [sorted(p.shape for group in step.optimizer.param_groups for p in group['params']) for step in steps]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize('key', ['boxes', 'forward_and_boxes'])
def test_boxes_of_the_plain_version_are_ours(key):
    pytest.importorskip('scipy')
    contest = next(contest for contest in contests_of('update', QUICK) if contest.key == key)
    mine, theirs = (one.build()() for one in contest.contestants)
    assert mine.shape == theirs.shape == (contest.contestants[0].items, 4)
    assert (mine - theirs).abs().max() <= 1.01 / 128  # a pixel, where a value lies on the threshold
    area = (mine[:, 2:] - mine[:, :2]).prod(dim=1)
    assert (area < 0.9).any()


@pytest.mark.parametrize('contest', contests_of('views', QUICK), ids=lambda contest: contest.key)
def test_views_of_all_have_one_shape_and_type_and_differ_from_each_other(contest):
    for one in contest.contestants:
        if one.name in OPTIONAL and find_spec(one.name) is None:
            continue
        views = one.build()()
        size = views[0].shape[-1]
        assert [tuple(view.shape) for view in views] == [(one.batch, 3, size, size)] * 2, one.name
        assert f'{size} px' in contest.work and one.items == 2 * one.batch
        for view in views:
            assert view.dtype == torch.float32 and view.device.type == 'cpu' and view.is_contiguous(), one.name
        assert (views[0] - views[1]).abs().amax(dim=(1, 2, 3)).min() > 0.1, one.name


def colours(views: list[torch.Tensor]) -> np.ndarray:
    """Mean colour of each view in [0, 255], (2 N, 3)."""
    mean, std = (torch.tensor(of)[:, None, None] for of in (view_pipelines.MEAN, view_pipelines.STD))
    return (torch.cat(list(views)) * std + mean).mean(dim=(2, 3)).numpy()


def slopes(views: list[torch.Tensor]) -> np.ndarray:
    """Brightness gained from the left end of each view to the right, over the image's (2 N,)."""
    lines = (torch.cat(list(views)) * torch.tensor(view_pipelines.STD)[:, None, None]).mean(dim=(1, 2))
    return ((lines[:, -4:].mean(dim=1) - lines[:, :4].mean(dim=1)) / 200).numpy()


@pytest.mark.parametrize('peer', PEERS)
@pytest.mark.parametrize('mine', [view_pipelines.viewplug_views, batch_views])
def test_views_of_the_peers_are_augmented_as_strongly_as_ours(mine, peer):
    needs(peer)
    n, size = 300, 32
    plain = np.broadcast_to(np.uint8([180, 120, 60]), (n, 40, 40, 3))  # RGB: no crop shows, only colour
    a, b = (colours(make(np.array(plain), size, False, 'cpu')(range(n))) for make in (mine, PEERS[peer]))
    grey_a, grey_b = (float((np.ptp(found, axis=1) < 1.5).mean()) for found in (a, b))
    assert abs(grey_a - grey_b) < 0.09 and 0.1 < grey_b < 0.3
    assert np.abs(a.mean(axis=0) - b.mean(axis=0)).max() < 8
    assert np.abs(np.log(a.std(axis=0) / b.std(axis=0))).max() < 0.25
    untouched = [np.mean(np.abs(found - plain[0, 0, 0]).max(axis=1) < 1.5) for found in (a, b)]
    assert abs(untouched[0] - untouched[1]) < 0.09 and untouched[1] > 0.08  # 0.2 * 0.8 have neither
    ramp = np.broadcast_to(np.linspace(20, 220, 64).astype(np.uint8)[None, None, :, None], (n, 64, 64, 3))
    a, b = (slopes(make(np.array(ramp), size, False, 'cpu')(range(n))) for make in (mine, PEERS[peer]))
    assert abs((a > 0).mean() - (b > 0).mean()) < 0.12 and abs((b > 0).mean() - 0.5) < 0.1
    assert abs(np.abs(a).mean() / np.abs(b).mean() - 1) < 0.12
    assert abs(np.log(np.abs(a).std() / np.abs(b).std())) < 0.25


@pytest.mark.parametrize('peer', [peer for peer in PEERS if peer != 'kornia'])  # whose crops are not antialiased
def test_views_of_the_peers_are_blurred_as_strongly_as_ours(peer):
    needs(peer)
    n = 200
    # Large images, so that crops are made smaller and white noise stays white.
    noise = np.random.RandomState(0).randint(0, 256, (n, 96, 96, 3), dtype=np.uint8)
    rough = []
    for make in (view_pipelines.viewplug_views, batch_views, PEERS[peer]):
        for blur in (True, False):
            views = torch.cat(list(make(noise, 32, blur, 'cpu')(range(n))))
            rough.append((views.diff(dim=-1).abs().mean(dim=(1, 2, 3)) / views.std(dim=(1, 2, 3))).mean().item())
    shares = [blurred / sharp for blurred, sharp in zip(rough[::2], rough[1::2], strict=True)]
    assert max(shares) < 0.85
    assert max(shares) - min(shares) < 0.07


def test_our_pipeline_is_that_of_the_config():
    from mmengine import Config

    config = Config.fromfile(CONFIGS / 'views_mocov2.py').view_pipeline

    def bare(step):
        inner = dict(transforms=[bare(one) for one in step['transforms']]) if 'transforms' in step else {}
        return {**step, 'type': step['type'].split('.')[-1], **inner}

    assert [bare(step) for step in view_pipelines.steps(224, blur=True)] == [bare(step) for step in config]
    without = [step['type'] for step in view_pipelines.steps(32, blur=False)]
    assert not any('Blur' in name for name in without) and len(without) == len(config) - 1


def contest(**peers) -> Contest:
    entrants = [Contestant('viewplug', lambda: lambda: None, 4, 4, ours=True)]
    entrants += [Contestant(name, build, 4, 4) for name, build in peers.items()]
    return Contest('key', 'some work', 'images', entrants, seconds=0)


def test_a_peer_that_is_not_installed_or_fails_is_a_row_with_the_reason():
    def absent():
        import no_such_library  # noqa: F401

    def broken():
        raise RuntimeError('out of order')

    result = hold(
        'losses', contest(there=lambda: lambda: None, absent=absent, broken=broken, late=lambda: broken), QUICK
    )
    found = {line['peer']: line['status'] for line in result['rows']}
    assert found == dict(
        there='measured',
        absent='absent not installed: no_such_library',
        broken='broken failed: RuntimeError: out of order',
        late='late failed: RuntimeError: out of order',
    )
    table = report.markdown(dict(losses=dict(setting=report.describe(QUICK), contests=[result])))
    for status in found.values():
        assert status == 'measured' or status in table


def test_the_suite_runs_without_peers_and_says_so_in_every_row_of_them(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split('.')[0] in OPTIONAL]:
        monkeypatch.delitem(sys.modules, name)
    for peer in OPTIONAL:
        monkeypatch.setitem(sys.modules, peer, None)  # importing it raises ModuleNotFoundError
    out = tmp_path / 'new/suite'
    assert main(['--quick', '--only', 'losses', 'views', '--skip-memory', '--threads', '1', '--out', str(out)]) == 0
    sections = json.loads(out.with_suffix('.json').read_text())['sections']
    assert list(sections) == ['views', 'losses']
    rows = [line for section in sections.values() for found in section['contests'] for line in found['rows']]
    for line in rows:
        peer = line['peer']
        assert line['status'] == (f'{peer} not installed: {peer}' if peer in OPTIONAL else 'measured')
    for peer, number in dict(lightly=5 + 1 + 1 + 3 + 2, kornia=3 + 2).items():
        assert sections['losses']['setting']['versions'][peer] is None
        assert sum(line['peer'] == peer for line in rows) == number
        assert out.with_suffix('.md').read_text().count(f'{peer} not installed: {peer}') == number
    assert out.with_suffix('.png').stat().st_size > 10_000


def test_a_later_run_of_one_section_keeps_the_others(tmp_path, monkeypatch):
    pytest.importorskip('scipy')
    out = tmp_path / 'suite'
    kept = dict(setting=report.describe(QUICK), contests=[])
    report.write(dict(steps=kept, update=kept), out.with_suffix('.json'))
    assert main(['--quick', '--only', 'update', '--threads', '1', '--out', str(out)]) == 0
    sections = report.read(out.with_suffix('.json'))
    assert sections['steps'] == kept and len(sections['update']['contests']) == 2
    assert sections['update']['contests'][0]['rows'][0]['rounds'] == timing.LEAST


def test_what_was_measured_before_a_crash_is_on_disk(tmp_path, monkeypatch):
    from benchmarks import __main__ as suite

    def crash(section, held, *args):
        if held.key == 'queue_long':
            raise KeyboardInterrupt
        return hold(section, held, *args)

    monkeypatch.setattr(suite, 'hold', crash)
    out = tmp_path / 'suite'
    with pytest.raises(KeyboardInterrupt):
        main(['--quick', '--only', 'losses', '--skip-memory', '--threads', '1', '--out', str(out)])
    (found,) = report.read(out.with_suffix('.json'))['losses']['contests']
    assert found['key'] == 'queue_short'


def entry(name: str, seconds: list[float], items: int = 10, **more) -> dict:
    return dict(name=name, status='measured', batch=5, items=items, seconds=seconds, per_second=items, **more)


def test_the_table_marks_where_we_are_slower():
    mine = entry('viewplug', [2.0, 2.0, 2.0, 2.0, 2.0], ours=True, peak_mib=1234.5)
    peers = [
        entry('fast', [1.0] * 5, peak_mib=10.0),
        entry('slow', [4.0] * 5, peak_mib=None),
        entry('alike', [1.5, 1.8, 1.9, 2.5, 3.0], peak_mib=3.0),
    ]
    result = dict(
        key='k', work='the work', unit='images', contestants=[mine, *peers], rows=[row(mine, p) for p in peers]
    )
    table = report.markdown(dict(losses=dict(setting=report.describe(QUICK), contests=[result]))).splitlines()
    assert '| the work | viewplug | fast | 2.000 (2.000 to 2.000) | **slower** | 10.0 | 10.0 | 1,234 | 10.0 |' in table
    assert '| the work | viewplug | slow | 0.500 (0.500 to 0.500) | faster | 10.0 | 10.0 | 1,234 | - |' in table
    assert sum('| **slower**, within spread |' in line for line in table) == 1
    plot_rows = [line['ratio'] for line in result['rows']]
    assert plot_rows == [2.0, 0.5, pytest.approx(2 / 1.9)]


def test_the_setting_names_versions_and_no_date():
    found = report.describe(Setting(threads=3))
    assert found['versions']['torch'] == torch.__version__ and found['threads'] == 3
    assert set(found['versions']) == {'python', *report.LIBRARIES}
    assert not any(key in json.dumps(found).lower() for key in ('date', 'host', 'node'))


def test_the_plot_has_a_bar_for_each_measured_row(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    keep = Axes.barh
    monkeypatch.setattr(Axes, 'barh', lambda self, y, width, **kw: (drawn.append(width), keep(self, y, width, **kw))[1])
    rows = [
        dict(ours='viewplug', peer='p', status='measured', ratio=ratio, quartiles=[0.9 * ratio, 1.1 * ratio], rounds=5)
        for ratio in (0.02, 0.5, 3.0)
    ]
    rows.append(dict(ours='viewplug', peer='q', status='q not installed: q'))
    plot(dict(views=dict(setting={}, contests=[dict(work='w', rows=rows)])), tmp_path / 'plot.png')
    assert drawn == pytest.approx([-0.98, -0.5, 2.0])
    assert (tmp_path / 'plot.png').stat().st_size > 5_000


class Hungry:
    """Holds ``held`` MiB, and for a moment in each call ``taken`` MiB more."""

    def __init__(self, held: int, taken: int) -> None:
        self.taken = taken
        self.held = torch.ones(held * 2**18)

    def __call__(self) -> None:
        torch.ones(self.taken * 2**18)


def hungry_contests(section: str, setting: Setting) -> list[Contest]:
    held, taken = (1, 1) if setting.quick else (40, 100)
    return [Contest('key', 'eat', 'bites', [Contestant('me', lambda: Hungry(held, taken), 1, 1)], 0, memory=True)]


def hungry_peak() -> float:
    memory.contests_of = hungry_contests
    return memory._measure('losses', 'key', 'me', Setting(threads=1))


def test_peak_memory_is_what_a_contestant_holds_and_takes(tmp_path):
    # In a process that ends: measuring changes how memory is given out.
    assert in_processes(hungry_peak, tmp_path, count=1) == [pytest.approx(140, abs=3)]


def test_peak_memory_comes_from_a_process_of_its_own():
    names = [one.name for one in contests_of('losses', QUICK)[2].contestants]
    assert names[0] == 'viewplug'
    found = memory.peak_memory('losses', 'in_batch', 'viewplug', Setting(threads=1))
    assert 2 < found < 20  # similarities of one direction are 256 x 512 numbers, half a MiB


def test_contests_have_names_of_their_own_under_every_setting():
    for section in SECTIONS:
        for setting in (QUICK, Setting(), Setting('cuda')):
            keys = [one.key for one in contests_of(section, setting)]
            assert len(set(keys)) == len(keys)
            for one in contests_of(section, setting):
                assert len({entrant.name for entrant in one.contestants}) == len(one.contestants)
                assert sum(entrant.ours for entrant in one.contestants) >= 1
        full = {one.key for one in contests_of(section, Setting())}
        assert {one.key for one in contests_of(section, QUICK)} <= full


@pytest.mark.parametrize('section', SECTIONS)
def test_everybody_runs_on_a_gpu(section):
    with pretend_gpu():
        for one in contests_of(section, Setting('cuda', quick=True)):
            for entrant in one.contestants:
                installed = entrant.name not in OPTIONAL or find_spec(entrant.name)
                if installed and 'lightly' not in entrant.name:  # a pretended GPU cannot take its old weight norm
                    entrant.build()()
