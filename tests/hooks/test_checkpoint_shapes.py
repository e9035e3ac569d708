"""ResumeCheckHook names tensors that a checkpoint has in another shape, and refuses one that brings nothing."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import FlexibleRunner, Runner
from mmpretrain.models import VisionTransformer
from toy_runs import Diary, log_of, toy_runner
from toys import mlp_branch, toy_resnet

from viewplug.hooks import CarryOverHook, ResumeCheckHook
from viewplug.hooks.checkpoint_shapes import tensors_of_another_shape
from viewplug.hooks.load_check import LoadCheckHook


@pytest.fixture
def first(tmp_path) -> str:
    """The checkpoint of one epoch."""
    toy_runner(tmp_path / 'first', max_epochs=1, branch=mlp_branch(queue_len=12)).train()
    return str(tmp_path / 'first' / 'epoch_1.pth')


def started(folder, first, hooks=(), queue_len=12, **changes):
    """A run from ``first`` as it is when training would begin."""
    hooks = [ResumeCheckHook(), *hooks, Diary(stop_before=int('resume' in changes))]
    runner = toy_runner(folder, hooks, branch=mlp_branch(queue_len=queue_len), load_from=first, **changes)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    return runner


def warnings_of(folder) -> list[str]:
    return [line for line in log_of(folder).split('\n') if 'WARNING' in line and 'another shape' in line]


def test_a_queue_of_another_length_is_named_on_resume(first, tmp_path):
    started(tmp_path, first, queue_len=20, resume=True)
    (warning,) = warnings_of(tmp_path)
    assert "1 of the model's " in warning
    assert 'branches.image.head.queue (12, 16) there, (20, 16) here.' in warning


@pytest.mark.parametrize(('change', 'name'), [(dict(depth=50), 'conv1'), (dict(base_channels=16), 'conv1')])
def test_another_backbone_is_one_sentence_with_the_number_of_tensors(change, name, first, tmp_path):
    state = started(tmp_path / 'second', first, backbone=toy_resnet() | change).model.state_dict()
    (warning,) = warnings_of(tmp_path / 'second')
    loaded = torch.load(first, weights_only=False)['state_dict']
    other = [key for key, value in loaded.items() if key in state and value.shape != state[key].shape]
    assert f"{len(other)} of the model's {len(state)} tensors" in warning
    assert f'; and {len(other) - 3} more.' in warning
    assert f'backbone.layer1.0.{name}.weight {tuple(loaded[f"backbone.layer1.0.{name}.weight"].shape)} there' in warning


def test_carry_over_reports_in_its_place(first, tmp_path):
    hooks = [CarryOverHook(required=())]
    started(tmp_path / 'second', first, hooks, backbone=toy_resnet() | dict(base_channels=16))
    assert warnings_of(tmp_path / 'second') == []


def test_a_checkpoint_that_fits_is_not_spoken_of(first, tmp_path):
    started(tmp_path / 'second', first)
    assert warnings_of(tmp_path / 'second') == []


def test_position_embeddings_that_a_vit_adapts_are_not_among_them():
    small, large = (
        VisionTransformer(arch='deit-tiny', img_size=size, patch_size=16, out_type='cls_token') for size in (32, 48)
    )
    assert small.pos_embed.shape != large.pos_embed.shape
    assert tensors_of_another_shape(large, small.state_dict()) is None


class Rename(Hook):
    """A user's own, behind ResumeCheckHook."""

    def after_load_checkpoint(self, runner, checkpoint) -> None:
        checkpoint['state_dict'] = {key.removeprefix('net.'): value for key, value in checkpoint['state_dict'].items()}


@pytest.mark.parametrize(('prefix', 'hooks'), [('module.', []), ('net.', [Rename()])])
def test_names_that_are_set_right_on_the_way_are_loaded(prefix, hooks, first, tmp_path):
    checkpoint = torch.load(first, weights_only=False)
    state = checkpoint['state_dict']
    checkpoint['state_dict'] = {prefix + key: value for key, value in state.items()}
    torch.save(checkpoint, tmp_path / 'other.pth')
    runner = started(tmp_path / 'second', str(tmp_path / 'other.pth'), hooks)
    name = 'backbone.conv1.weight'
    assert torch.equal(runner.model.state_dict()[name], state[name])


def under_other_names(first, tmp_path) -> str:
    checkpoint = torch.load(first, weights_only=False)
    checkpoint['state_dict'] = {f'net.{key}': value for key, value in checkpoint['state_dict'].items()}
    torch.save(checkpoint, tmp_path / 'other.pth')
    return str(tmp_path / 'other.pth')


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('kind', [Runner, FlexibleRunner])
def test_a_checkpoint_without_one_name_of_the_model_is_refused(kind, resume, first, tmp_path):
    path = under_other_names(first, tmp_path)
    changes = dict(branch=mlp_branch(queue_len=12), load_from=path, resume=resume, kind=kind)
    said = (
        rf"{'resume' if resume else 'load_from'}=.*other\.pth: nothing was loaded.* model's \d+ parameters "
        r'\(net\.backbone\S+ there, backbone\S+ here\).*--init'
    )
    with pytest.raises(ValueError, match=said):
        toy_runner(tmp_path, [ResumeCheckHook()], **changes).train()


def has_weights_of(path, runner) -> bool:
    name = 'backbone.conv1.weight'
    return torch.equal(runner.model.state_dict()[name], torch.load(path, weights_only=False)['state_dict'][name])


@pytest.mark.parametrize('resume', [False, True])
def test_mmengines_flexible_runner_goes_on_from_a_checkpoint_that_fits(resume, first, tmp_path):
    changes = dict(branch=mlp_branch(queue_len=12), load_from=first, resume=resume, kind=FlexibleRunner)
    runner = toy_runner(tmp_path / 'second', [ResumeCheckHook(), Diary(stop_before=int(resume))], **changes)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert has_weights_of(first, runner)


def test_names_that_the_model_itself_sets_right_are_loaded(first, tmp_path):
    def rename(state, *_):
        for key in list(state):
            state[key.removeprefix('net.')] = state.pop(key)

    changes = dict(branch=mlp_branch(queue_len=12), load_from=under_other_names(first, tmp_path), max_epochs=1)
    runner = toy_runner(tmp_path, [ResumeCheckHook(), Diary(stop_before=0)], **changes)
    runner.model._register_load_state_dict_pre_hook(rename)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert has_weights_of(first, runner)


def test_names_that_revise_keys_sets_right_are_loaded(first, tmp_path):
    path = under_other_names(first, tmp_path)
    runner = toy_runner(tmp_path, [ResumeCheckHook()], branch=mlp_branch(queue_len=12), max_epochs=1)
    runner._init_model_weights = lambda: None  # mmengine's would overwrite what is loaded before the run
    runner.load_checkpoint(path, revise_keys=[(r'^net\.', '')])
    runner.train()
    assert runner.iter == 2


def test_a_load_by_hand_that_brings_nothing_is_refused(first, tmp_path):
    path = under_other_names(first, tmp_path)
    runner = toy_runner(tmp_path, [ResumeCheckHook()], branch=mlp_branch(queue_len=12), max_epochs=1)
    runner._init_model_weights = lambda: None
    runner.load_checkpoint(path)
    with pytest.raises(ValueError, match='^load_checkpoint: nothing was loaded'):
        runner.train()


def train_with_init_cfg(folder, checkpoint, prefix, **changes):
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint) | (dict(prefix=prefix) if prefix else {})
    hooks, branch = [ResumeCheckHook(), Diary(stop_before=0)], mlp_branch(queue_len=12)
    toy_runner(folder, hooks, branch=branch, backbone=toy_resnet(init_cfg=init_cfg), **changes).train()


def test_an_init_cfg_that_brings_nothing_is_refused(first, tmp_path):
    said = r'^model\.backbone\.init_cfg: nothing was loaded from .*prefix=None'
    with pytest.raises(ValueError, match=said) as told:
        train_with_init_cfg(tmp_path / 'second', first, None)
    assert "'backbone.' (" in str(told.value) and str(told.value).count(first) == 1


@pytest.mark.parametrize('kind', [Runner, FlexibleRunner])
def test_one_that_brings_the_weights_is_not_spoken_of(kind, first, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_with_init_cfg(tmp_path / 'second', first, 'backbone.', kind=kind)


def test_what_load_from_brings_is_not_missed(first, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_with_init_cfg(tmp_path / 'second', first, None, load_from=first)


RESNET = toy_resnet() | dict(out_indices=(3,))
VIT = dict(type='mmpretrain.VisionTransformer', arch='deit-tiny', img_size=32, patch_size=16)
MOCO = dict(
    type='mmpretrain.MoCo',
    queue_len=16,
    feat_dim=8,
    momentum=0.001,
    neck=dict(type='mmpretrain.MoCoV2Neck', in_channels=64, hid_channels=8, out_channels=8),
    head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.2),
)


@pytest.mark.parametrize('backbone', [RESNET, VIT], ids=['resnet', 'vit'])
@pytest.mark.parametrize('model', [dict(type='mmpretrain.ImageClassifier'), MOCO], ids=['classifier', 'moco'])
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_models_of_others_are_told_alike(model, backbone, prefix, tmp_path):
    """mmpretrain's MoCo has a copy of the backbone and its init_cfg, which nobody initialises."""
    state = {prefix + name: value for name, value in MODELS.build(backbone).state_dict().items()}
    torch.save(state, tmp_path / 'weights.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    network = MODELS.build(model | dict(backbone=backbone | dict(init_cfg=init_cfg)))
    runner = SimpleNamespace(model=network, _train_loop=object(), _resume=False, _load_from=None, hooks=[])
    hook = LoadCheckHook()
    hook.before_run(runner)
    network.init_weights()
    if prefix:
        with pytest.raises(ValueError, match=r"^model\.backbone\.init_cfg: nothing .*'backbone\.' \("):
            hook.before_train(runner)
    else:
        hook.before_train(runner)
        assert torch.equal(next(network.backbone.parameters()), next(iter(state.values())))
