"""The detector of the transfer demo: the checkpoint's values arrive in it, and its evaluation is right."""

import math
import sys
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner

from viewplug.demo import BACKBONE
from viewplug.transfer.start_from import start_from

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'benchmarks'))

import transfer_demo  # noqa: E402
import transfer_table  # noqa: E402
from scene_detection import CONFIG, make_scenes  # noqa: E402

FPN_T = 'configs/transfer/scenes_faster_rcnn_fpn_t.py'


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('scenes') / 'scenes'
    make_scenes(folder, 8, 4)
    return folder


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint as a ReSim-FPN demo run leaves it: backbone, and the pyramid of the region branch."""
    torch.manual_seed(1)
    backbone = MODELS.build(BACKBONE)
    neck = MODELS.build(
        dict(
            type='viewplug.RegionNeck',
            stages=('P1', 'P2'),
            in_channels=(16, 32, 64),
            in_strides=(2, 4, 4),
            fpn_channels=32,
            hidden_channels=8,
            out_channels=8,
        )
    )
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    state |= {f'branches.region.neck.{key}': value for key, value in neck.state_dict().items()}
    path = tmp_path_factory.mktemp('checkpoint') / 'epoch_1.pth'
    torch.save(dict(state_dict=state, meta={}), path)
    return path


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
    state = torch.load(checkpoint, weights_only=True)['state_dict']
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


def test_the_table_pairs_each_row_with_moco_of_its_seed():
    cells = [
        dict(row=row, tuning=tuning, seed=seed, ap=ap + seed, ap50=ap, ap75=ap)
        for tuning in ('full', 'frozen')
        for row, ap in (('random', 5.0), ('MoCo v2', 10.0), ('+ HCL', 12.0))
        for seed in (0, 1)
    ]
    lines = transfer_table.table(cells).splitlines()
    assert lines[0] == 'Full fine-tuning:' and 'Frozen backbone:' in lines
    assert '| + HCL | 12.5 ± 0.7 | 12.0 ± 0.0 | 12.0 ± 0.0 | +2.0 | 2 |' in lines
    assert '| random | 5.5 ± 0.7 | 5.0 ± 0.0 | 5.0 ± 0.0 | -5.0 | 2 |' in lines


def test_every_row_of_the_table_names_configs_that_are_there():
    for config, _, detector in transfer_table.ROWS.values():
        assert config is None or (ROOT / config).is_file()
        assert (ROOT / detector).is_file()
    args = transfer_table.parse_args(['--quick'])
    assert (args.seeds, args.tuning) == ([0], ['full']) and set(args.rows) == set(transfer_table.ROWS)
