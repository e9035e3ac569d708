"""The transfer demo: pre-training arrives in its detector, its evaluation is right, it compares its own runs."""

import json
import math
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.runner import Runner

from viewplug.transfer.checkpoint import read_checkpoint, weights_of
from viewplug.transfer.start_from import start_from

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'benchmarks'))

import scene_detection  # noqa: E402
import transfer_demo  # noqa: E402
from scene_detection import CONFIG, fine_tune, last_checkpoint, make_scenes  # noqa: E402

FPN_T = 'configs/transfer/scenes_faster_rcnn_fpn_t.py'
RESIM_FPN = 'configs/resim/resim_fpn_mocov2_r50.py'
LABELLED, TESTED = 8, 4


def run_here(script: str, *args: object) -> None:
    """``scene_detection.run`` in this process: the same scripts, without their imports each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [script, *map(str, args)])
        patch.setattr(os, 'environ', os.environ.copy())
        patch.chdir(ROOT)
        try:
            runpy.run_path(str(ROOT / script), run_name='__main__')
        except SystemExit as end:
            assert not end.code, f'{script} ended with {end.code}'


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('transfer_demo')


@pytest.fixture(scope='module')
def scenes(work_dir) -> Path:
    folder = work_dir / f'scenes_{LABELLED}_{TESTED}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_detection, 'run', run_here)
        make_scenes(folder, LABELLED, TESTED)
    return folder


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    """Of ReSim-FPN pre-trained for an epoch of three steps, `tools/train.py --demo`: backbone and pyramid."""
    folder = tmp_path_factory.mktemp('pre-training')
    options = ['train_dataloader.batch_size=8', 'train_dataloader.dataset.num_images=24', 'randomness.seed=1']
    options += [f'custom_hooks.0.{loader}_dataloader.dataset.num_images=24' for loader in ('train', 'val')]
    options += ['model.branches.image.head.queue_len=16', 'default_hooks.checkpoint.interval=1']
    run_here('tools/train.py', RESIM_FPN, '--demo', '--epochs', 1, '--work-dir', folder, '--cfg-options', *options)
    return last_checkpoint(folder)


def small(config: str, scenes: Path, work_dir: Path) -> Config:
    cfg = Config.fromfile(ROOT / config)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = f'{scenes}/'
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = f'{scenes}/annotations/instances_val.json'
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    cfg.model.test_cfg.rcnn.score_thr = 0.0
    cfg.work_dir = str(work_dir)
    return cfg


@pytest.mark.parametrize('config', [CONFIG, FPN_T])
def test_values_arrive_a_step_moves_them_and_ap_is_measured(config, scenes, checkpoint, tmp_path):
    cfg = small(config, scenes, tmp_path)
    start_from(cfg, str(checkpoint))
    runner = Runner.from_cfg(cfg)
    state = weights_of(read_checkpoint(checkpoint))
    seen = {}

    def look(runner, *args, **kwargs):
        seen.update({key: value.clone() for key, value in runner.model.state_dict().items()})

    hook = runner.hooks[-1]
    original = hook.before_train_epoch
    hook.before_train_epoch = lambda runner: (look(runner), original(runner))
    runner.train()
    backbone = {key: value for key, value in seen.items() if key.startswith('backbone.')}
    assert len(backbone) > 50 and all(torch.equal(value, state[key]) for key, value in backbone.items())
    pyramid = [key for key in seen if key.startswith(('neck.lateral_convs', 'neck.fpn_convs.0', 'neck.fpn_convs.1'))]
    same = [torch.equal(seen[key], state[f'branches.region.neck.fpn.{key[len("neck.") :]}']) for key in pyramid]
    assert same and all(same) if config == FPN_T else not all(same)
    moved = runner.model.state_dict()
    assert any(not torch.equal(value, moved[key]) for key, value in backbone.items())
    scalars = {key: value.current() for key, value in runner.message_hub.log_scalars.items()}
    assert 0 <= scalars['val/coco/bbox_mAP'] <= 1 and math.isfinite(scalars['train/loss'])


def test_the_demo_runs_the_detector_from_pre_training_and_from_random_weights_and_compares(
    scenes, checkpoint, work_dir, monkeypatch, capsys
):
    monkeypatch.setattr(scene_detection, 'run', run_here)
    sizes = ['--labelled', str(LABELLED), '--tested', str(TESTED), '--iterations', '2', '--seeds', '0']
    begin = ['--checkpoint', str(checkpoint), '--work-dir', str(work_dir)]
    transfer_demo.main([*sizes, *begin, '--out', str(work_dir / 'results/demo')])

    loaded = weights_of(read_checkpoint(checkpoint))
    convolutions = [key for key in loaded if key.startswith('backbone.') and loaded[key].ndim == 4]
    moved = {}
    for start in ('random', 'pre-trained'):
        after = weights_of(read_checkpoint(last_checkpoint(work_dir / f'{start}_{LABELLED}_2_0')))
        moved[start] = [float((after[key] - loaded[key]).norm() / loaded[key].norm()) for key in convolutions]
    assert len(convolutions) > 15 and 0 < max(moved['pre-trained']) < 0.05 and min(moved['random']) > 0.5

    result = json.loads((work_dir / 'results/demo.json').read_text())
    assert [(row['start'], row['seed']) for row in result['rows']] == [('random', 0), ('pre-trained', 0)]
    assert all(0 <= row[key] <= 100 for row in result['rows'] for key in ('ap', 'ap50', 'ap75'))
    setting = result['setting']
    assert (setting['iterations'], setting['labelled'], setting['tested']) == (2, LABELLED, TESTED)
    assert setting['threads'] == torch.get_num_threads() and setting['fine_tuned'] == 2
    assert setting['minutes'] >= 0 and setting['processor_minutes'] > 0
    text = (work_dir / 'results/demo.md').read_text()
    assert all(f'| 0 | {start} | ' in text for start in ('random', 'pre-trained', 'difference'))
    printed = capsys.readouterr().out
    assert text in printed and '2 of 2 detectors trained in this call' in printed
    assert (work_dir / 'boxes.png').exists()

    transfer_demo.main([*sizes, *begin])
    again = json.loads((work_dir / 'transfer_demo.json').read_text())
    assert again['rows'] == result['rows'] and again['setting']['fine_tuned'] == 0


@pytest.fixture
def tunings(monkeypatch) -> list[tuple]:
    """Fine-tuning that takes no time: its runs, of which the first has an AP of 1 %, the second of 2 %, and so on."""
    runs = []

    def run(script, config, *args):
        runs.append((config, *args))
        folder = Path(args[args.index('--work-dir') + 1]) / f'{len(runs)}/vis_data'
        folder.mkdir(parents=True)
        line = {key: len(runs) / 100 for key in scene_detection.METRICS.values()}
        (folder / 'scalars.json').write_text(json.dumps(line))
        os.utime(folder / 'scalars.json', (len(runs), len(runs)))

    monkeypatch.setattr(scene_detection, 'run', run)
    return runs


def exported(folder: Path, tested: int = TESTED) -> Path:
    (folder / 'annotations').mkdir(parents=True)
    for split, number in (('train', LABELLED), ('val', tested)):
        (folder / f'annotations/options_{split}.json').write_text(json.dumps(dict(num_images=number)))
    return folder


def test_a_detector_is_trained_again_only_where_its_setting_differs(tunings, tmp_path):
    few, many = exported(tmp_path / 'few'), exported(tmp_path / 'many', 2 * TESTED)
    one, other, same = (tmp_path / name for name in ('one.pth', 'other.pth', 'same.pth'))
    for path, content in ((one, b'1'), (other, b'2'), (same, b'1')):
        path.write_bytes(content)
    work_dir = tmp_path / 'run'
    assert fine_tune(few, work_dir, 0, 2, one) == dict(ap=1.0, ap50=1.0, ap75=1.0)
    assert fine_tune(few, work_dir, 0, 2, one)['ap'] == fine_tune(few, work_dir, 0, 2, same)['ap'] == 1.0
    assert len(tunings) == 1
    assert fine_tune(few, work_dir, 0, 2, other)['ap'] == 2.0
    assert fine_tune(many, work_dir, 0, 2, other)['ap'] == 3.0
    assert fine_tune(many, work_dir, 0, 2, None)['ap'] == 4.0
    assert fine_tune(many, work_dir, 0, 2, None, frozen=True)['ap'] == 5.0
    assert fine_tune(many, work_dir, 0, 2, None, frozen=True, config=FPN_T)['ap'] == 6.0
    assert fine_tune(many, work_dir, 0, 2, None, frozen=True, config=FPN_T)['ap'] == 6.0 and len(tunings) == 6


def test_a_result_of_another_learning_rate_is_not_kept(tunings, tmp_path, monkeypatch):
    few = exported(tmp_path / 'few')
    assert fine_tune(few, tmp_path / 'run', 0, 2)['ap'] == 1.0
    whole = Config.fromfile(ROOT / CONFIG)
    whole.optim_wrapper.optimizer.lr /= 2
    monkeypatch.setattr(scene_detection.Config, 'fromfile', lambda path: whole)
    assert fine_tune(few, tmp_path / 'run', 0, 2)['ap'] == 2.0
    assert fine_tune(few, tmp_path / 'run', 0, 2)['ap'] == 2.0 and len(tunings) == 2


def test_average_precision_on_the_export_is_that_of_known_boxes(scenes, tmp_path):
    """The labels themselves score 1; boxes that overlap them by 0.62 pass the thresholds 0.50, 0.55 and 0.60 of ten."""
    from mmdet.evaluation import CocoMetric
    from pycocotools.coco import COCO

    path = scenes / 'annotations/instances_val.json'
    coco = COCO(path)
    classes = Config.fromfile(ROOT / CONFIG).classes
    assert [one['name'] for one in coco.loadCats(coco.getCatIds())] == list(classes)
    for overlap, wanted in ((1.0, (1.0, 1.0, 1.0)), (0.62, (0.3, 1.0, 0.0))):
        metric = CocoMetric(ann_file=str(path), metric='bbox')
        metric.dataset_meta = dict(classes=tuple(classes))
        for index in coco.getImgIds():
            found = coco.imgToAnns[index]
            boxes = torch.tensor([[x, y, x + w * overlap, y + h] for x, y, w, h in (one['bbox'] for one in found)])
            labels = torch.tensor([one['category_id'] - 1 for one in found])
            predicted = dict(bboxes=boxes, labels=labels, scores=torch.full((len(found),), 0.9))
            metric.process({}, [dict(img_id=index, ori_shape=(64, 64), pred_instances=predicted)])
        scores = metric.evaluate(len(coco.getImgIds()))
        got = tuple(scores[f'coco/bbox_mAP{end}'] for end in ('', '_50', '_75'))
        assert got == pytest.approx(wanted, abs=2e-3)


def test_the_demo_tells_who_won():
    rows = [
        dict(start=start, seed=seed, ap=ap, ap50=2 * ap, ap75=ap / 2)
        for seed, pair in ((0, (10.0, 14.0)), (1, (12.0, 11.0)))
        for start, ap in zip(('random', 'pre-trained'), pair, strict=True)
    ]
    assert '| 0 | difference | +4.0 | +8.0 | +2.0 |' in transfer_demo.table(rows)
    assert transfer_demo.verdict(rows) == 'pre-trained wins: +1.5 AP on average, pre-trained ahead in 1 of 2 seeds'
    worse = [dict(row, ap=row['ap'] if row['start'] == 'random' else 0.0) for row in rows]
    assert transfer_demo.verdict(worse).startswith('random wins: -11.0 AP')
