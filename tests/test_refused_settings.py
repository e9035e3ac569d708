"""Values that make no sense for a component, which would train something else without a word."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine import Config
from torch import nn

from viewplug.batch_views import BatchViews, data_preprocessor, to_device_views
from viewplug.batch_views.blur import GaussianBlur
from viewplug.batch_views.noise import GaussianNoise
from viewplug.config.switches import place_views
from viewplug.frameworks import Pretext, RotationTask, Siamese
from viewplug.heads import CPCHead, DistillHead
from viewplug.hooks import CarryOverHook, FreezeLastLayerHook, LocalizationHook
from viewplug.necks import DINONeck, HCLNeck, MLPNeck, RegionNeck
from viewplug.targets import MomentumTarget
from viewplug.transforms import ContrastiveCrop, QueryCrops, RandomResizedCrop

CROP = dict(type='viewplug.RandomResizedCrop', scale=8)


REGIONS = dict(
    neck=dict(type='viewplug.RegionNeck', stages=('P1', 'P2'), fpn_channels=4, hidden_channels=4, out_channels=4),
    head=dict(type='viewplug.RegionHead', window=8, stride=8, downsample=(4, 2), negative_kernel=1, input_size=32),
)


def siamese(branch=(), **changes):
    head = dict(type='viewplug.QueueHead', queue_len=4, loss=dict(type='viewplug.InfoNCELoss'))
    branches = dict(image=dict(neck=dict(type='viewplug.MLPNeck', out_channels=4), head=head) | dict(branch))
    backbone = dict(
        type='mmpretrain.ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4, out_indices=(0, 1, 2, 3)
    )
    return Siamese(backbone, branches, dict(type='viewplug.MomentumTarget'), **changes)


REFUSED = [
    (lambda: MomentumTarget(0.99, end_momentum=0.9), 'end_momentum=0.9 lies below momentum=0.99'),
    (lambda: MomentumTarget(update_interval=0), 'update_interval must be at least 1, got 0'),
    (lambda: MomentumTarget(end_momentum=1.0, total_steps=-1), 'total_steps must be at least 1, got -1'),
    (lambda: MLPNeck(8, hidden_channels=0), 'MLPNeck: hidden_channels must be at least 1, got 0'),
    (lambda: MLPNeck(8, out_channels=0), 'MLPNeck: out_channels must be at least 1, got 0'),
    (lambda: DINONeck(8, 16, 16, bottleneck_channels=0), 'DINONeck: bottleneck_channels must be at least 1'),
    (lambda: HCLNeck(semantic_channels=0), 'HCLNeck: semantic_channels must be at least 1, got 0'),
    (lambda: RegionNeck(in_strides=[None]), 'RegionNeck reads maps .* and this backbone gives none'),
    (lambda: HCLNeck(fusion_stride=0), 'HCLNeck: fusion_stride=0 is not among the strides'),
    (lambda: CPCHead(8, offsets=(2, 3, 3)), r'CPCHead: offsets must be .* each once and at least 1, got \(2, 3, 3\)'),
    (lambda: CPCHead(8, target_dim=0), 'CPCHead: target_dim must be None or at least 1, got 0'),
    (lambda: Pretext({}, RotationTask(), part_channels=0), 'model.part_channels must be None or at least 1, got 0'),
    (lambda: DistillHead(teacher_temperature=0.03), 'warmup_teacher_temperature=0.04 lies above teacher_temperature'),
    (lambda: siamese(online_views=(0, -1)), r'model\.online_views must be numbers of views from 0 on'),
    (lambda: siamese(target_views=(1, 1)), r'model\.target_views must be .* each once, got \(1, 1\)'),
    (lambda: siamese(online_views=()), r'model\.online_views must be'),
    (lambda: siamese(dict(online_views=(0,)), online_views=(0, 2)), r'online_views=\(0, 2\), but .* compares view 2;'),
    (lambda: siamese(online_views=(0, 1)), r'model\.online_views=\(0, 1\), but no branch of image compares view 1;'),
    (lambda: siamese(dict(target_views=(1,)), target_views=(1, 2)), r'target_views=\(1, 2\), but .* compares view 2;'),
    (lambda: siamese(dict(weight=-1.0)), r'model\.branches\.image\.weight must be a number of at least 0, got -1\.0'),
    (lambda: siamese(dict(weight='2')), r"model\.branches\.image\.weight must be a number of at least 0, got '2'"),
    (lambda: siamese(dict(masked='no', reads='patch')), r'model\.branches\.image\.masked'),
    (lambda: siamese(dict(weight=0)), 'every weight is 0'),
    (lambda: siamese(REGIONS), r'head\.downsample=\(4, 2\), but the stages of its neck have the strides \(2, 4\)'),
    (lambda: LocalizationHook(1, 1, batch_size=0), 'batch_size must be at least 1, got 0'),
    (lambda: RandomResizedCrop(8, crop_ratio_range=(20, 100)), r'crop_ratio_range must be .* within \[0, 1\], got'),
    (lambda: RandomResizedCrop(8, max_attempts=0), 'max_attempts must be at least 1'),
    (lambda: ContrastiveCrop(8, max_attempts=0), 'max_attempts must be at least 1'),
    (lambda: QueryCrops(crop_ratio_range=(5, 25)), 'crop_ratio_range must be'),
    (lambda: BatchViews([[dict(CROP, crop_ratio_range=(20, 100))]], 2), 'crop_ratio_range must be'),
    (lambda: BatchViews([[dict(CROP, max_attempts=0)]], 2), 'max_attempts must be at least 1'),
    (lambda: BatchViews([[CROP]], [0]), r'data_preprocessor\.num_views must be at least 1, got \[0\]'),
    (lambda: BatchViews([[CROP]], 2, masks=dict(num_views=3, grid=2)), 'masks: num_views=3, but there are 2 views'),
    (lambda: BatchViews([[CROP]], 2, queries=dict(num=0, transforms=[CROP])), 'queries.num must be at least 1, got 0'),
    (lambda: BatchViews([[CROP]], 2, mean=[1, 1, 1], std=[1, 1, -1]), r'data_preprocessor\.std must be above 0'),
    (lambda: GaussianBlur(radius=-1.0), r'GaussianBlur: radius must be at least 0, got \[-1\.0\]'),
    (lambda: GaussianNoise(magnitude_range=(-5, 5)), 'GaussianNoise: std must be at least 0'),
    (lambda: GaussianBlur(magnitude_range=(0, 2), magnitude_level=20), 'magnitude_level must lie in .* got 20 of 10'),
    (lambda: FreezeLastLayerHook(parameters=''), "parameters='' is a part of every name"),
    (lambda: place_views(Config(dict(views='device', in_memory='no'))), "in_memory must be True or False, got 'no'"),
]


@pytest.mark.parametrize(('build', 'said'), REFUSED)
def test_it_is_refused_with_a_sentence(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_a_misspelt_argument_of_multi_view_does_not_get_lost_on_the_way_to_the_device():
    multi_view = dict(type='viewplug.MultiView', num_views=2, transforms=[[CROP]], share_flip=0.5)
    dataset = dict(type='viewplug.ShapeScenes', pipeline=[multi_view, dict(type='PackInputs')])
    cfg = Config(dict(model=dict(type='viewplug.Siamese'), train_dataloader=dict(dataset=dataset)))
    with pytest.raises(ValueError, match=r'pipeline\.0: .*no argument share_flip, did you mean shared_flip'):
        to_device_views(cfg)


def test_a_mean_of_images_in_0_to_1_is_said(monkeypatch):
    texts = []
    monkeypatch.setattr(data_preprocessor, 'print_log', lambda text, *args: texts.append(text))
    make = data_preprocessor.ViewsDataPreprocessor
    make(), make(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4]), make(mean=[0, 0, 0], std=[1, 1, 1])
    assert not texts
    make(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    assert len(texts) == 1 and 'multiply both by 255' in texts[0]


def test_whole_numbers_that_nobody_normalises_are_said_once(monkeypatch):
    texts = []
    monkeypatch.setattr(data_preprocessor, 'print_log', lambda text, *args: texts.append(text))
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    stock = data_preprocessor.ViewsDataPreprocessor
    normalising = dict(mean=[1.0] * 3, std=[2.0] * 3)
    stock(**normalising)(dict(inputs=[images]), training=True)
    stock()(dict(inputs=[images / 255]), training=True)
    stock()(dict(inputs=images))  # whole images of an evaluation, after training
    BatchViews([[CROP]], 2, **normalising)(dict(inputs=images), training=True)
    assert not texts
    for maker in (stock(), BatchViews([[CROP]], 2)):
        for _ in range(2):
            maker(dict(inputs=[images] if type(maker) is stock else images), training=True)
    assert len(texts) == 2 and all('no mean and std, so the network reads 0 to 255' in text for text in texts)


def carry_over(caplog, names, **settings):
    model = nn.ModuleDict(dict(backbone=nn.Linear(1, 1), new=nn.Linear(1, 1)))
    logger = logging.getLogger('carry over')
    runner = SimpleNamespace(model=model, _resume=False, _load_from='FILE', logger=logger)
    with caplog.at_level(logging.WARNING, 'carry over'):
        file = {name: torch.zeros(()) for name in names} | {
            f'backbone.{k}': v for k, v in model.backbone.state_dict().items()
        }
        CarryOverHook(**settings).after_load_checkpoint(runner, dict(state_dict=file))
    return [record.getMessage() for record in caplog.records]


def test_prefixes_that_begin_no_name_are_said(caplog):
    assert not carry_over(caplog, ['old.x'], rename={'old.': 'new.'})
    [text] = carry_over(caplog, ['old.x'], rename={'odl.': 'new.'})
    assert "rename has 'odl.', with which no name in the file begins" in text
    caplog.clear()
    [text] = carry_over(caplog, ['old.x'], rename={'old.': 'nwe.'})
    assert "rename has 'nwe.', with which no name of this model begins" in text
    with pytest.raises(ValueError, match=r"required='bakbone\.' begins no weight's name"):
        carry_over(caplog, [], required=('bakbone.',))
