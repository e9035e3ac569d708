import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine import Config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('sweep', ROOT / 'tools/sweep_contrastive_crop.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(tool, tmp_path, monkeypatch):
    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['sweep', *args, '--out', str(tmp_path)])
        return tool.main()

    return run


def pipeline(cfg):
    multi_view = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type.endswith('MultiView'))
    return multi_view.transforms[0]


def hooks(cfg):
    return [hook for hook in cfg.custom_hooks if hook.type == 'viewplug.LocalizationHook']


def test_the_threshold_runs_from_random_crop_up_with_uniform_centres(call, tool, tmp_path):
    assert call('threshold') == 0
    cfg = Config.fromfile(tmp_path / 'configs/threshold_0.py')
    assert pipeline(cfg)[0].type == 'viewplug.RandomResizedCrop' and not hooks(cfg)
    assert pipeline(cfg) == pipeline(Config.fromfile(ROOT / 'configs/contrastive_crop/in200/mocov2_rcrop.py'))
    found = []
    for path in tmp_path.glob('configs/threshold_0.*.py'):
        cfg = Config.fromfile(path)
        assert (pipeline(cfg)[0].type, pipeline(cfg)[0].alpha) == ('viewplug.ContrastiveCrop', 1.0)
        found.append(hooks(cfg)[0].threshold)
    assert sorted(found) == list(tool.THRESHOLDS[1:])


def test_alpha_runs_below_at_and_above_one_at_the_papers_threshold(call, tmp_path):
    call('alpha')
    configs = [Config.fromfile(path) for path in tmp_path.glob('configs/alpha_*.py')]
    alphas = [pipeline(cfg)[0].alpha for cfg in configs]
    assert min(alphas) < 1 < max(alphas) and 1 in alphas and 0.6 in alphas
    assert {hooks(cfg)[0].threshold for cfg in configs} == {0.1}
    assert len({cfg.work_dir for cfg in configs}) == len(configs)


def test_table_3_keeps_what_its_row_says_for_both_crops(call, tmp_path):
    call('transforms')
    flip, colour, blur = ['RandomFlip'], ['RandomApply', 'viewplug.RandomGrayscale'], ['GaussianBlur']
    rows = dict(flip_colour_blur=colour + blur + flip, flip=flip, colour=colour, blur=blur, none=[])
    for row, expected in rows.items():
        for crop, kind in (('rcrop', 'RandomResizedCrop'), ('ccrop', 'ContrastiveCrop')):
            steps = pipeline(Config.fromfile(tmp_path / f'configs/{row}_{crop}.py'))
            assert [step.type for step in steps] == [f'viewplug.{kind}', *expected]
    table = json.loads((tmp_path / 'results.json').read_text())
    assert {row['name']: row['paper'] for row in table}['none_ccrop'] == 45.9 and len(table) == 10


def test_runs_go_one_after_another_keep_what_is_finished_and_survive_a_failure(
    call, tool, tmp_path, monkeypatch, capsys
):
    started = []

    def run(command):
        command = [str(part) for part in command]
        started.append(command)
        name = Path(command[command.index('--work-dir') + 1]).name if 'train.py' in command[1] else None
        if name == 'alpha_0.2':
            return SimpleNamespace(returncode=1)
        if 'linear_eval.py' in command[1]:
            Path(command[2]).mkdir(exist_ok=True)
            (Path(command[2]) / 'linear_eval.json').write_text(json.dumps(dict(top1=50.0 + len(started), epochs=3)))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(tool.subprocess, 'run', run)
    assert call('alpha', '--run', '--train-args', '--epochs 7') == 1
    assert 'failed: alpha_0.2' in capsys.readouterr().err
    assert len(started) == 2 * len(tool.ALPHAS) - 1
    assert started[0][2:] == [
        str(tmp_path / 'configs/alpha_0.1.py'),
        *('--work-dir', str(tmp_path / 'alpha_0.1'), '--resume', '--epochs', '7'),
    ]
    rows = {row['name']: row for row in json.loads((tmp_path / 'results.json').read_text())}
    assert rows['alpha_0.1']['top1'] == 52.0 and rows['alpha_0.2']['top1'] is None
    assert '| alpha | alpha_0.1 |  | 52.0 |' in (tmp_path / 'table.md').read_text()

    started.clear()
    assert call('alpha', '--run') == 1
    assert len(started) == 1 and started[0][2].endswith('alpha_0.2.py')

    capsys.readouterr()
    other = ['--base', str(ROOT / 'configs/contrastive_crop/cifar10/simclr_ccrop.py')]
    assert call('alpha', *other) == 2  # its numbers would stand in a table with these
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f'error: {tmp_path}/alpha_0.1 is a run of another config than --base {other[1]} makes now')


def test_several_gpus_go_through_torchrun_for_both_steps(call, tmp_path):
    call('alpha', '--gpus', '8')
    first, second = (tmp_path / 'commands.sh').read_text().splitlines()[1:3]
    assert f'tools/dist_train.sh {tmp_path}/configs/alpha_0.1.py 8 --work-dir' in first
    assert first.startswith(f'env PYTHON={sys.executable} ') and second.startswith(sys.executable)
    assert '--nproc_per_node=8' in second and second.endswith('--launcher pytorch')


def test_a_base_without_contrastive_crop_is_refused(call, capsys):
    assert call('alpha', '--base', str(ROOT / 'configs/contrastive_crop/in200/mocov2_rcrop.py')) == 2
    assert 'not a ContrastiveCrop config' in capsys.readouterr().err
