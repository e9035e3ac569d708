"""Every transfer config takes the checkpoint, trains a step and evaluates, on tiny data in its data set's format."""

import copy
import math
from functools import lru_cache
from pathlib import Path

import pytest
import tiny_data
import torch
from mmengine import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/transfer'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py') if not path.stem.startswith('scenes_'))
VOC = [name for name in NAMES if 'r50_c4_24k' in name]
SMALL = (96, 64)


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    from mmdet.datasets import CocoDataset, LVISV05Dataset

    root = tmp_path_factory.mktemp('data')
    tiny_data.write_voc(root / 'VOCdevkit')
    tiny_data.write_coco(root / 'coco', CocoDataset.METAINFO['classes'])
    tiny_data.write_lvis(root / 'lvis_v0.5', LVISV05Dataset.METAINFO['classes'])
    tiny_data.write_cityscapes(root / 'cityscapes')
    tiny_data.write_ade20k(root / 'ade/ADEChallengeData2016')
    return root


BACKBONES = dict(
    r50=dict(type='mmpretrain.ResNet', depth=50, out_indices=(0, 1, 2, 3)),
    vit_s=dict(type='viewplug.QueryViT', model_name='vit_small_patch16_224'),
    vit_b=dict(type='viewplug.QueryViT', model_name='vit_base_patch16_224', depth=4),
)


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """The path of a pre-training checkpoint for a kind of backbone: ``backbone.`` and something else beside it."""

    @lru_cache
    def make(kind: str) -> Path:
        model = MODELS.build(BACKBONES[kind])
        model.init_weights()
        for norm in (m for m in model.modules() if isinstance(m, _BatchNorm)):
            torch.nn.init.uniform_(norm.running_var, 0.8, 1.2)
        state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
        path = tmp_path_factory.mktemp('checkpoints') / f'{kind}.pth'
        torch.save(dict(state_dict={**state, 'target.backbone.x': torch.zeros(1)}, meta={}), path)
        return path

    return make


@lru_cache
def parsed(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def read(name: str) -> Config:
    return copy.deepcopy(parsed(name))


def everywhere(node, visit) -> None:
    """``visit`` every dict below ``node``."""
    if isinstance(node, dict):
        visit(node)
        node = node.values()
    if isinstance(node, dict | list | tuple) or hasattr(node, '__iter__') and not isinstance(node, str):
        for child in node:
            everywhere(child, visit)


def shrink(cfg: Config, data: Path, checkpoint: Path, work_dir: Path) -> Config:
    """The same config in the small: data, checkpoint, sizes of images, numbers of proposals, one step."""
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    if cfg.val_dataloader.dataset.type == 'VOCDataset':
        cfg.val_dataloader.dataset.indices = 1  # two would fork four processes for each of ten thresholds
    cfg.test_dataloader = cfg.val_dataloader

    def visit(node: dict) -> None:
        if node.get('type') == 'Pretrained':
            node['checkpoint'] = str(checkpoint)
        for key in ('data_root', 'ann_file', 'seg_prefix'):
            if str(node.get(key) or '').startswith('data/'):
                node[key] = str(data / node[key][len('data/') :])
        if 'outfile_prefix' in node:
            node['outfile_prefix'] = str(work_dir / 'outfiles')
        if node.get('type') in ('Resize', 'RandomResize') and 'scale' in node:
            node['scale'] = [SMALL, SMALL] if isinstance(node['scale'][0], list | tuple) else SMALL
        if node.get('type') == 'RandomChoiceResize':
            node['scales'] = [SMALL]
        if node.get('type') == 'RandomCrop':
            node['crop_size'] = (64, 64)
        if node.get('type') == 'SegDataPreProcessor':
            node['size'] = (64, 64)
        for key, few in (('nms_pre', 50), ('max_per_img', 20)):
            if key in node:
                node[key] = few
        if node.get('type') == 'RandomSampler':
            node['num'] = 8
        if 'vit_base' in str(node.get('model_name')):
            node['depth'], node['out_indices'] = 4, (0, 1, 2, 3)

    everywhere(cfg._cfg_dict, visit)
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    if cfg.model.get('test_cfg', {}).get('rcnn'):
        cfg.model.test_cfg.rcnn.score_thr = 0.0  # so that there is something to evaluate after one step
    for hook in cfg.get('custom_hooks', []):
        if hook.type == 'viewplug.PreciseBNHook':
            hook.num_batches = 1
    cfg.default_hooks.pop('visualization')
    cfg.default_hooks.checkpoint = None
    cfg.work_dir = str(work_dir)
    return cfg


@pytest.fixture(autouse=True)
def no_dump_of_the_config(monkeypatch):
    """The Runner logs it four times, formatted by yapf: a second each."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: ''))


@pytest.mark.parametrize('name', NAMES)
def test_takes_the_checkpoint_trains_a_step_and_evaluates(name, data, checkpoints, tmp_path):
    kind = next((key for key in ('vit_s', 'vit_b') if key in name), 'r50')
    runner = Runner.from_cfg(shrink(read(name), data, checkpoints(kind), tmp_path))
    model = runner.model
    model.init_weights()
    state = torch.load(checkpoints(kind), weights_only=True)['state_dict']
    kept = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    assert kept and all(torch.equal(value, state[f'backbone.{key}']) for key, value in kept.items())
    if 'c4' in name:
        head = model.roi_head.shared_head.layer4.state_dict()
        assert all(torch.equal(value, state[f'backbone.layer4.{key}']) for key, value in head.items())
    runner.train()
    moved = {key for key, value in model.backbone.state_dict().items() if not torch.equal(value, kept[key])}
    assert (not moved) if 'frozen' in name and 'bn' not in name else any('weight' in key for key in moved)
    scalars = dict(runner.message_hub.log_scalars)
    assert math.isfinite(scalars['train/loss'].current()) and scalars['train/loss'].current() > 0
    found = {key: value.current() for key, value in scalars.items() if key.startswith('val/')}
    assert set(WANTED[dataset_of(name)]) <= set(found), found


def dataset_of(name: str) -> str:
    return next(key for key in WANTED if name.startswith(key))


WANTED = {
    'voc12': ['val/mIoU'],
    'voc': ['val/pascal_voc/mAP'] + [f'val/pascal_voc/AP{iou}' for iou in range(50, 100, 5)],
    'coco': ['val/coco/bbox_mAP', 'val/coco/bbox_mAP_50', 'val/coco/bbox_mAP_75', 'val/coco/segm_mAP'],
    'lvis': ['val/lvis/bbox_AP', 'val/lvis/segm_AP'],
    'cityscapes_mask': ['val/coco/bbox_mAP', 'val/cityscapes/mAP', 'val/cityscapes/AP@50'],
    'cityscapes_fcn': ['val/mIoU'],
    'ade20k': ['val/mIoU', 'val/mAcc'],
}


@pytest.mark.parametrize('name', NAMES)
def test_backbones_are_those_of_the_pre_training(name):
    """SyncBN everywhere, nothing frozen but where said; pytorch's stride; the pre-training's pixels."""
    model = read(name).model
    assert model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert model.data_preprocessor.bgr_to_rgb is True
    if 'r50' in name:
        backbone = model.backbone
        assert backbone.get('style') == 'pytorch' and backbone.get('depth') == 50
        assert backbone.get('frozen_stages', -1) == (3 if name.endswith('_frozen') else -1)
        frozen_bn = name.endswith('frozen_bn')
        assert backbone.norm_cfg == dict(type='BN' if frozen_bn else 'SyncBN', requires_grad=not frozen_bn)
        assert backbone.norm_eval is frozen_bn
    if 'c4' in name:
        head = model.roi_head.shared_head
        assert (head.type, head.style, head.norm_cfg.type) == ('viewplug.Res5WithNorm', 'pytorch', 'SyncBN')
    if 'fpn' in name and not name.endswith('frozen_bn'):
        assert model.neck.norm_cfg.type == 'SyncBN'
    if name.endswith('bn_heads'):
        assert model.roi_head.bbox_head.norm_cfg.type == model.roi_head.mask_head.norm_cfg.type == 'SyncBN'


@pytest.mark.parametrize('name', NAMES)
def test_schedules_are_the_protocols(name):
    cfg = read(name)
    images = cfg.train_dataloader.batch_size * 8
    steps = next((s for s in cfg.param_scheduler if s.type == 'MultiStepLR'), None)
    found = (images, cfg.optim_wrapper.optimizer.lr, cfg.train_cfg.max_iters, steps and tuple(steps.milestones))
    wanted = {
        'voc12_fcn_r50': (16, 0.003, 50000, (35000, 45000)),
        'cityscapes_fcn_r50': (16, 0.01, 90000, (63000, 81000)),
        'cityscapes_mask_rcnn_r50_fpn': (8, 0.01, 24000, (18000,)),
        'cityscapes_mask_rcnn_r50_fpn_2x': (8, 0.01, 48000, (36000,)),
        **dict.fromkeys(VOC, (16, 0.02, 24000, (18000, 22000))),
        **dict.fromkeys((n for n in NAMES if 'ade20k' in n), (16, 6e-5, 160000, None)),
        **dict.fromkeys((n for n in NAMES if 'coco_mask_rcnn_vit' in n), (16, 1e-4, 90000, (60000, 80000))),
    }
    default = (16, 0.02, 180000, (120000, 160000)) if '_2x' in name else (16, 0.02, 90000, (60000, 80000))
    assert found == wanted.get(name.removesuffix('_bn_heads'), default)
    warm_up = [s.end for s in cfg.param_scheduler if s.type == 'LinearLR']
    assert warm_up == ([100] if name in VOC else [] if 'fcn' in name else [1500] if 'ade' in name else [1000])
    precise = [hook.num_batches for hook in cfg.get('custom_hooks', []) if hook.type == 'viewplug.PreciseBNHook']
    assert precise == ([200] if 'r50_fpn' in name or 'r50_c4' in name else []) or name.endswith('frozen_bn')
    assert all(not s.get('by_epoch') for s in cfg.param_scheduler)


def test_scales_of_voc_are_mocos_and_hcls():
    cfg, hcl = read('voc_faster_rcnn_r50_c4_24k'), read('voc_faster_rcnn_r50_c4_24k_hcl')
    steps = {step.type: step for step in cfg.train_dataloader.dataset.datasets[1].pipeline}
    assert [scale[1] for scale in steps['RandomChoiceResize'].scales] == list(range(480, 801, 32))
    assert 'viewplug.KeepDifficult' in steps
    steps = {step.type: step for step in hcl.train_dataloader.dataset.datasets[1].pipeline}
    assert [scale[1] for scale in steps['RandomResize'].scale] == [400, 800]
    assert hcl.val_dataloader.dataset.pipeline[1].scale_factor == 1.0
    assert cfg.val_dataloader.dataset.pipeline[1].scale[1] == 800


def test_a_config_without_a_checkpoint_says_what_to_give():
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(read('voc_faster_rcnn_r50_c4_24k').model)
    with pytest.raises(FileNotFoundError, match='--init CKPT'):
        model.init_weights()
