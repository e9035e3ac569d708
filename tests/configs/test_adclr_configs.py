"""The configs of DINO, iBOT and ADCLR: settings, schedules, and a step of each as a demo."""

import copy
import math
from argparse import Namespace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner
from toy_runs import numbers
from toys import total

from viewplug.backbones import QueryViT
from viewplug.run.launch import read_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/adclr'
VITS = [f'{method}_vit_{size}_in1k' for method in ('dino', 'ibot', 'adclr') for size in ('small', 'base')]
MORE = [
    'dino_r50_in1k',
    'dino_mmpretrain_vit_small_in1k',
    'adclr_ibot_vit_small_in1k',
    'adclr_ccrop_vit_small_in1k',
    'adclr_moco_vit_small_in1k',
]
FINETUNE = ['finetune_vit_small_in1k', 'finetune_vit_base_in1k']
TINY = dict(img_size=32, patch_size=8, depth=1, num_heads=2)


@lru_cache
def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def crops_of(cfg: Config) -> dict[int, tuple]:
    multi_view = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'viewplug.MultiView')
    return {views[0].scale: tuple(views[0].crop_ratio_range) for views in multi_view.transforms}


def test_there_is_a_config_for_each_row_and_no_other():
    assert {path.stem for path in CONFIGS.glob('*.py')} == {*VITS, *MORE, *FINETUNE}


@pytest.mark.parametrize('name', [*VITS, *MORE])
def test_views_branches_and_targets_fit_each_other(name):
    cfg = read(name)
    pipeline = cfg.train_dataloader.dataset.pipeline
    multi_view = next(step for step in pipeline if step.type == 'viewplug.MultiView')
    assert len(cfg.model.online_views) == sum(multi_view.num_views) and tuple(cfg.model.target_views) == (0, 1)
    kinds = {step.type for step in pipeline}
    branches = cfg.model.branches
    assert ('viewplug.QueryCrops' in kinds) == ('query' in branches)
    assert ('viewplug.BlockMasks' in kinds) == ('patch' in branches) == bool(cfg.model.backbone.get('mask_token'))
    extras = kinds & {'viewplug.QueryCrops', 'viewplug.BlockMasks'}
    assert ('viewplug.PackViews' in kinds) == bool(extras)
    assert cfg.data_preprocessor.type == 'viewplug.ViewsDataPreprocessor'
    for extra in ('query', 'patch'):
        if extra in branches:
            assert branches[extra].neck == 'cls' and branches[extra].get('weight', 1.0) == 1.0


@pytest.mark.parametrize(
    ('name', 'prototypes', 'fixed_gain', 'warm', 'epochs', 'lr', 'end_lr', 'crops', 'local'),
    [
        ('dino_vit_small_in1k', 65536, False, 30, 800, 2e-3, 1e-5, (0.4, 0.4), 8),
        ('dino_vit_base_in1k', 65536, True, 50, 400, 3e-3, 2e-6, (0.25, 0.25), 10),
        ('ibot_vit_small_in1k', 8192, False, 30, 800, 2e-3, 1e-6, (0.25, 0.25), 10),
        ('ibot_vit_base_in1k', 8192, True, 50, 400, 3e-3, 2e-6, (0.32, 0.32), 10),
        ('adclr_vit_small_in1k', 65536, False, 30, 800, 2e-3, 1e-5, (0.4, 0.4), 8),
        ('adclr_vit_base_in1k', 8192, True, 50, 400, 3e-3, 2e-6, (0.32, 0.32), 10),
    ],
)
def test_settings_are_the_papers(name, prototypes, fixed_gain, warm, epochs, lr, end_lr, crops, local):
    cfg = read(name)
    cls, target, optimizer = cfg.model.branches.cls, cfg.model.target, cfg.optim_wrapper.optimizer
    assert (cls.neck.out_channels, cls.neck.norm_last_layer) == (prototypes, fixed_gain)
    assert (target.momentum, target.end_momentum) == (0.996, 1.0)
    for branch in cfg.model.branches.values():
        head = branch.head
        assert (head.warmup_teacher_temperature, head.teacher_temperature, head.warmup_epochs) == (0.04, 0.07, warm)
        assert (head.loss.temperature, head.center_momentum) == (0.1, 0.9)
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', lr, 0.04)
    assert cfg.param_scheduler[1].eta_min == end_lr
    assert cfg.train_cfg.max_epochs == epochs and {s.end for s in cfg.param_scheduler[1:]} == {epochs}
    assert cfg.auto_scale_lr.base_batch_size == 1024
    assert crops_of(cfg) == {224: (crops[0], 1.0), 96: (0.05, crops[1])}
    multi_view = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'viewplug.MultiView')
    assert multi_view.num_views == [1, 1, local]
    blurs = [{step.type: step.prob for step in views if 'prob' in step} for views in multi_view.transforms]
    assert [views['GaussianBlur'] for views in blurs] == [1.0, 0.1, 0.5]
    assert [views.get('Solarize') for views in blurs] == [None, 0.2, None]
    hooks = {hook.type: hook for hook in cfg.custom_hooks}
    assert hooks['viewplug.ClipEachGradientHook'].max_norm == (3.0 if 'small' in name else 0.3)
    assert hooks['viewplug.FreezeLastLayerHook'].epochs == (1 if 'small' in name else 3)
    assert cfg.model.backbone.drop_path_rate == 0.1 and cfg.model.backbone.model_name.split('_')[1] in name


@pytest.mark.parametrize(('base', 'size'), [('dino', 'small'), ('ibot', 'base')])
def test_adclr_differs_from_its_baseline_by_the_queries_only(base, size):
    baseline, adclr = (read(f'{method}_vit_{size}_in1k').to_dict() for method in (base, 'adclr'))
    assert adclr['model']['branches'].pop('query')['reads'] == 'query'
    assert adclr['model'] == baseline['model']
    assert adclr['optim_wrapper'] == baseline['optim_wrapper']
    assert adclr['param_scheduler'] == baseline['param_scheduler']
    steps = [step for step in adclr['train_dataloader']['dataset']['pipeline'] if 'QueryCrops' not in step['type']]
    plain = baseline['train_dataloader']['dataset']['pipeline']
    assert steps[:-1] == plain[:-1]
    assert (steps[-1]['type'], set(steps[-1]['meta_keys'])) == ('viewplug.PackViews', set(plain[-1]['meta_keys']))


def test_resnet_50_is_trained_as_the_authors_readme_has_it():
    cfg = read('dino_r50_in1k')
    neck, head = cfg.model.branches.cls.neck, cfg.model.branches.cls.head
    assert (head.teacher_temperature, head.warmup_epochs) == (0.04, 0)
    assert (neck.out_channels, neck.get('norm_cfg'), neck.norm_last_layer) == (65536, None, True)
    optimizer, cosine = cfg.optim_wrapper.optimizer, cfg.param_scheduler[-1]
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('SGD', 0.03 * 512 / 256, 1e-4)
    assert (cosine.begin, cosine.end, cosine.eta_min) == (10, 100, 1e-6)
    assert crops_of(cfg) == {224: (0.14, 1.0), 96: (0.05, 0.14)}


def demo(name: str) -> Config:
    arguments = dict(cfg_options={}, demo=True, epochs=None, data_root=None, amp=None, launcher='none', work_dir='x')
    return read_config(str(CONFIGS / f'{name}.py'), Namespace(**arguments))


@pytest.mark.parametrize('name', [*VITS, *MORE])
def test_every_config_takes_a_step_as_a_demo_with_views_made_on_the_device(name, monkeypatch):
    hub = MessageHub.get_instance('test_adclr_configs')
    hub.update_info('max_iters', 100)
    hub.update_info('epoch', 0)
    monkeypatch.setattr(MessageHub, 'get_current_instance', lambda: hub)
    cfg = demo(name)
    assert cfg.data_preprocessor.type == 'viewplug.BatchViews'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
        model.init_weights()
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    images = torch.randint(0, 256, (4, 3, 48, 48), dtype=torch.uint8)
    for _ in range(2):  # a queue is empty in the first step
        batch = model.data_preprocessor(dict(inputs=images, sample_idx=torch.arange(4)), True)
        losses = model(**batch, mode='loss')
        wrapper.update_params(total(losses))
    total(model(**batch, mode='loss')).backward()
    assert {key.split('.')[0] for key in losses} == set(cfg.model.branches)
    assert total(losses).isfinite() and total(losses) > 0
    untrained = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not untrained or all('mask_token' in key for key in untrained)


@pytest.mark.parametrize('name', ['dino_vit_small_in1k', 'adclr_vit_base_in1k', 'dino_r50_in1k'])
def test_the_whole_model_builds(name):
    cfg = copy.deepcopy(read(name).model)
    cfg.branches.cls.neck.out_channels = 32
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    width = dict(small=384, base=768, r50=2048)[next(key for key in ('small', 'base', 'r50') if key in name)]
    assert model.branches['cls'].neck.mlp[0].in_features == width
    assert set(model.necks) == {'cls'}


def test_weight_decay_rises_along_half_a_cosine_and_stays_0_for_biases_norms_and_flat_parameters():
    cfg = read('dino_vit_small_in1k')
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    model.register_parameter('cls_token', torch.nn.Parameter(torch.zeros(1, 1, 4)))
    model.register_parameter('flat', torch.nn.Parameter(torch.zeros(4)))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    settings = {key: value for key, value in cfg.param_scheduler[2].items() if key != 'convert_to_iter_based'}
    kind = PARAM_SCHEDULERS.get(settings.pop('type'))
    scheduler = kind.build_iter_from_epoch(optimizer=wrapper, epoch_length=2, **settings)
    for step in range(1600):
        groups = [group for group in wrapper.param_groups if id(group['params'][0]) in names]
        decays = {names[id(group['params'][0])]: group['weight_decay'] for group in groups}
        expected = 0.4 + 0.5 * (0.04 - 0.4) * (1 + math.cos(math.pi * step / 1600))
        assert decays['0.weight'] == pytest.approx(expected, rel=1e-6)
        assert decays['cls_token'] == decays['0.weight']
        assert {decays[name] for name in ('0.bias', '1.weight', '1.bias', 'flat')} == {0.0}
        scheduler.step()
    assert decays['0.weight'] == pytest.approx(0.4, abs=1e-5)


def test_the_demos_warm_up_shrinks_with_its_epochs():
    assert demo('dino_vit_base_in1k').model.branches.cls.head.warmup_epochs == round(50 * 24 / 400)


@pytest.mark.parametrize(('size', 'epochs', 'drop_path'), [('small', 200, 0.1), ('base', 100, 0.2)])
def test_fine_tuning_has_the_authors_settings(size, epochs, drop_path):
    cfg = read(f'finetune_vit_{size}_in1k')
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.begin, warm_up.end, cosine.begin, cosine.end, cosine.T_max) == (0, 20, 20, epochs, epochs - 20)
    assert cfg.train_cfg.max_epochs == epochs and cfg.model.backbone.drop_path_rate == drop_path
    resize = next(step for step in cfg.val_dataloader.dataset.pipeline if step.type == 'ResizeEdge')
    assert (resize.scale, resize.interpolation) == (256, 'bilinear')


@pytest.mark.parametrize(('size', 'rate'), [('small', 0.75), ('base', 0.65)])
def test_fine_tuning_slows_layers_by_their_depth_and_does_not_decay_embeddings(size, rate):
    cfg = copy.deepcopy(read(f'finetune_vit_{size}_in1k'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        cfg.model.backbone.init_cfg = None
        model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    groups = [group for group in wrapper.param_groups if 'param_name' in group]
    rates = {group['param_name']: group['lr'] / cfg.optim_wrapper.optimizer.lr for group in groups}
    assert rates['head.fc.weight'] == rates['backbone.norm.weight'] == 1
    assert rates['backbone.blocks.11.attn.qkv.weight'] == pytest.approx(rate)
    assert rates['backbone.blocks.0.attn.qkv.weight'] == pytest.approx(rate**12)
    assert rates['backbone.pos_embed'] == rates['backbone.patch_embed.proj.weight'] == rates['backbone.cls_token']
    assert rates['backbone.pos_embed'] == pytest.approx(rate**13)
    decays = {group['param_name']: group['weight_decay'] for group in groups}
    assert {name for name, decay in decays.items() if decay == 0} == {
        name for name in decays if name.endswith(('bias', 'pos_embed', 'cls_token')) or 'norm' in name
    }
    assert decays['head.fc.weight'] == decays['backbone.patch_embed.proj.weight'] == 0.05
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, 1000)


def tiny_fine_tuning(size: str, embed_dim: int, checkpoint: Path) -> Runner:
    """The config's model and hooks, of one small block, on four scenes."""
    cfg = copy.deepcopy(read(f'finetune_vit_{size}_in1k'))
    cfg.model.backbone.update(TINY, embed_dim=embed_dim)
    cfg.model.backbone.init_cfg.checkpoint = str(checkpoint)
    cfg.model.head.in_channels = embed_dim
    pipeline = [dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
    scenes = dict(type='viewplug.ShapeScenes', image_size=40, num_classes=3, num_images=4, pipeline=pipeline)
    small = dict(batch_size=4, num_workers=0, persistent_workers=False, pin_memory=False, dataset=scenes)
    return Runner(
        model=cfg.model,
        data_preprocessor=cfg.data_preprocessor,
        work_dir=str(checkpoint.parent / 'work'),
        experiment_name=f'finetune_{next(numbers)}',
        train_dataloader={**cfg.train_dataloader, **small},
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=cfg.optim_wrapper,
        custom_hooks=cfg.custom_hooks,
        default_scope='mmpretrain',
    )


@pytest.fixture
def pretrained(tmp_path):
    """Of a network with a mask token, as iBOT leaves it."""
    vit = QueryViT('vit_tiny_patch16_224', mask_token=True, embed_dim=8, **TINY)
    path = tmp_path / 'pretrained.pth'
    torch.save(dict(state_dict={f'target.backbone.{key}': value for key, value in vit.state_dict().items()}), path)
    return path


@pytest.mark.parametrize('size', ['small', 'base'])
def test_fine_tuning_starts_from_the_target_of_pre_training(size, pretrained):
    runner = tiny_fine_tuning(size, 8, pretrained)
    runner.train()
    assert runner.iter == 1


@pytest.mark.parametrize('size', ['small', 'base'])
def test_fine_tuning_from_a_network_of_another_width_is_an_error(size, pretrained):
    with pytest.raises(ValueError, match='TransferCheckHook: backbone: .* of another shape'):
        tiny_fine_tuning(size, 12, pretrained).train()
