"""What --demo cannot make smaller is said by its place in the config."""

import pytest
from mmengine import Config

from viewplug.run.demo import to_demo

TYPELESS = 'has no type, by which it is built; write type in place of typ$'


@pytest.mark.parametrize(
    ('place', 'value', 'said'),
    [
        ('model', None, '^model=None: --demo makes this part of the config smaller, and takes a dict there'),
        ('model.target', dict(typ='viewplug.MomentumTarget'), rf'^model\.target: .*{TYPELESS}'),
        ('model.target', dict(momentum=0.9), r"^model\.target: \{'momentum': 0\.9\} has no type"),
        ('model.target', 'viewplug.SharedTarget', r"^model\.target='viewplug\.SharedTarget': --demo .* a dict there"),
        ('model.backbone', dict(typ='mmpretrain.ResNet'), rf'^model\.backbone: .*{TYPELESS}'),
        ('model.branches', None, r'^model\.branches=None: --demo'),
        ('model.branches.image', 'other', r"^model\.branches\.image='other': --demo"),
        ('model.branches.image.neck', None, r'^model\.branches\.image\.neck=None: --demo'),
        ('model.branches.image.head', dict(typ='QueueHead'), rf'^model\.branches\.image\.head: .*{TYPELESS}'),
        ('optim_wrapper', None, '^optim_wrapper=None: --demo'),
        ('optim_wrapper.optimizer', dict(typ='SGD'), rf'^optim_wrapper\.optimizer: .*{TYPELESS}'),
        ('train_dataloader.dataset', None, r'^train_dataloader\.dataset=None: --demo'),
        ('train_dataloader.dataset', dict(type='ConcatDataset'), r'^train_dataloader\.dataset\.pipeline=None: .*list'),
    ],
)
def test_a_part_that_is_missing_or_has_no_type_is_named(place, value, said):
    cfg = Config.fromfile('configs/mocov2_r50.py')
    parent, _, key = place.rpartition('.')
    part = cfg
    for name in parent.split('.') if parent else ():
        part = part[name]
    part[key] = value
    with pytest.raises(ValueError, match=said):
        to_demo(cfg)


def test_a_framework_with_a_demo_of_its_own_is_looked_at_too():
    cfg = Config.fromfile('configs/cpc/cpc_v2_r50.py')
    cfg.model.backbone = dict(typ='mmpretrain.ResNet')
    with pytest.raises(ValueError, match=rf'^model\.backbone: .*{TYPELESS}'):
        to_demo(cfg)


def test_configs_whose_hooks_are_none_have_a_demo():
    cfg = Config.fromfile('configs/mocov2_r50.py')
    cfg.custom_hooks = None
    assert [hook.type for hook in to_demo(cfg).custom_hooks] == ['viewplug.KNNHook']


def test_a_detectors_config_is_told_to_be_one():
    with pytest.raises(ValueError, match=r'^--demo is for pre-training configs of viewplug\.Siamese, got model\.type='):
        to_demo(Config.fromfile('configs/transfer/voc_faster_rcnn_r50_c4_24k.py'))
