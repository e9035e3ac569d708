"""CarryOverHook: HCL's second stage starts from MoCo v2's weights (HCL, sec. 4.1)."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn
from toy_runs import Diary, log_of, toy_runner
from toys import hcl_branch, mlp_branch, toy_resnet

from viewplug.hooks.carry_over import CarryOverHook

CONFIG = Path(__file__).parents[2] / 'configs' / 'mocov2_hcl_r50.py'
SIZE, DIM = 224, 128  # 128 + 196 = 324


def hook_of_the_config() -> CarryOverHook:
    (settings,) = [hook for hook in Config.fromfile(CONFIG).custom_hooks if hook.type == 'viewplug.CarryOverHook']
    settings.pop('type')
    return CarryOverHook(**settings)


def hcl() -> dict:
    return hcl_branch(input_size=SIZE, dim=DIM, queue_len=12)


def mlp() -> dict:
    return mlp_branch(dim=DIM, queue_len=12)


@pytest.fixture
def stage_1(tmp_path) -> dict:
    """Path and state of a finished first stage, whose target has drifted from its online network."""
    toy_runner(tmp_path / 'stage_1', [Diary()], max_epochs=1, branch=mlp()).train()
    path = tmp_path / 'stage_1' / 'epoch_1.pth'
    state = torch.load(path, weights_only=False)['state_dict']
    assert not torch.equal(state['backbone.conv1.weight'], state['target.backbone.conv1.weight'])
    return dict(path=str(path), state=state, folder=tmp_path / 'stage_2')


def started(folder, hook, load_from, branch=None):
    """The runner of a second stage as it is when training would begin."""
    runner = toy_runner(folder, [hook, Diary(stop_before=0)], branch=branch or hcl(), load_from=load_from)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    return runner


def test_backbone_and_semantic_mlp_arrive_online_and_in_the_target(stage_1):
    state = started(stage_1['folder'], hook_of_the_config(), stage_1['path']).model.state_dict()
    carried = 0
    for key, value in stage_1['state'].items():
        if key.startswith(('backbone.', 'target.backbone.')):
            assert torch.equal(state[key], value), key
            carried += 1
    assert carried == 2 * 120
    for before, after in (
        ('branches.image.neck.mlp.', 'branches.image.neck.semantic.mlp.'),
        ('target.necks.image.mlp.', 'target.necks.image.semantic.mlp.'),
    ):
        for part in ('0.weight', '0.bias', '2.weight', '2.bias'):
            assert torch.equal(state[after + part], stage_1['state'][before + part])


def test_the_spatial_target_starts_equal_to_the_spatial_online_branch(stage_1):
    state = started(stage_1['folder'], hook_of_the_config(), stage_1['path']).model.state_dict()
    online = {key: value for key, value in state.items() if key.startswith('branches.image.neck.spatial.')}
    assert len(online) == 2 * (4 + 1 + 1)
    for key, value in online.items():
        mine = state[key.replace('branches.image.neck.', 'target.necks.image.')]
        assert torch.equal(mine, value) and (value.dim() == 1 or value.abs().sum() > 0)


def test_the_queue_and_the_step_count_start_anew(stage_1):
    model = started(stage_1['folder'], hook_of_the_config(), stage_1['path']).model
    head = model.branches.image.head
    assert stage_1['state']['branches.image.head.pointer'] == 16 % 12 and stage_1['state']['target.steps'] == 2
    assert head.queue.shape == (12, 324) and torch.allclose(head.queue.norm(dim=1), torch.ones(12))
    assert head.pointer == 0 and model.target.steps == 0


def test_the_log_lists_what_carried_over_what_is_new_and_what_stayed_behind(stage_1):
    started(stage_1['folder'], hook_of_the_config(), stage_1['path'])
    log = log_of(stage_1['folder'])
    lines = {line.strip().split('  ')[0]: line for line in log.splitlines() if line.startswith('  ')}
    assert f'Starting from {stage_1["path"]}' in log
    for part in (
        'backbone (120)',
        'target.backbone (120)',
        'branches.image.neck.semantic (4)',
        'target.necks.image.semantic (4)',
    ):
        assert part in lines['carried over']
    for part in ('branches.image.neck.spatial (12)', 'target.necks.image.spatial (12)', 'branches.image.head (2)'):
        assert part in lines['new'] and part not in lines['carried over']
    assert 'branches.image.head (2)' in lines['left behind'] and 'target (1)' in lines['left behind']


def test_the_second_stage_trains(stage_1):
    diary = Diary()
    runner = toy_runner(
        stage_1['folder'],
        [hook_of_the_config(), diary],
        branch=hcl_branch(input_size=32, dim=DIM, queue_len=12),
        load_from=stage_1['path'],
        max_epochs=1,
    )
    runner.train()
    assert len(diary.losses) == 2 and all(loss == loss for loss in diary.losses)


def test_hcl_also_starts_from_hcl(stage_1):
    first = started(stage_1['folder'], hook_of_the_config(), stage_1['path'])
    path = str(stage_1['folder'] / 'hcl.pth')
    with torch.no_grad():
        first.model.branches.image.head.queue.neg_()
    first.save_checkpoint(str(stage_1['folder']), 'hcl.pth', save_optimizer=False, save_param_scheduler=False)
    saved = torch.load(path, weights_only=False)['state_dict']
    state = started(stage_1['folder'].parent / 'stage_3', hook_of_the_config(), path).model.state_dict()
    kept = [key for key in saved if not key.startswith(('branches.image.head.', 'target.steps'))]
    assert len(kept) > 200 and all(torch.equal(saved[key], state[key]) for key in kept)
    assert not torch.equal(saved['branches.image.head.queue'], state['branches.image.head.queue'])


def test_a_checkpoint_saved_from_ddp_carries_over_too(stage_1, tmp_path):
    path = str(tmp_path / 'ddp.pth')
    torch.save(dict(state_dict={f'module.{key}': value for key, value in stage_1['state'].items()}), path)
    state = started(stage_1['folder'], hook_of_the_config(), path).model.state_dict()
    assert torch.equal(state['backbone.conv1.weight'], stage_1['state']['backbone.conv1.weight'])


def test_a_checkpoint_of_which_nothing_carries_over_is_refused_and_load_from_is_named(stage_1, tmp_path):
    path = str(tmp_path / 'elsewhere.pth')
    torch.save(dict(state_dict={f'encoder.{key}': value for key, value in stage_1['state'].items()}), path)
    with pytest.raises(
        ValueError, match=r'load_from=.*elsewhere.pth: no tensor of 100 carries over into this model\'s backbone\.'
    ):
        started(stage_1['folder'], hook_of_the_config(), path)


def test_a_backbone_of_another_width_is_refused_though_its_step_counters_fit(stage_1):
    runner = toy_runner(
        stage_1['folder'],
        [hook_of_the_config()],
        backbone=toy_resnet() | dict(stem_channels=4, base_channels=4),
        branch=mlp(),
        load_from=stage_1['path'],
    )
    with pytest.raises(ValueError, match='tensors? of 100 carries over'):
        runner.train()


def test_on_resume_the_hook_leaves_the_checkpoint_alone(tmp_path):
    small = dict(branch=hcl_branch(input_size=32, queue_len=12))
    toy_runner(tmp_path, [hook_of_the_config()], max_epochs=1, **small).train()
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    runner = toy_runner(tmp_path, [hook_of_the_config(), Diary(stop_before=1)], resume=True, **small)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    state = runner.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in saved.items())
    assert state['branches.image.head.pointer'] == 4 and state['target.steps'] == 2
    assert 'Starting from' not in log_of(tmp_path)


def test_a_backbone_of_another_depth_is_refused_though_most_of_it_fits(stage_1):
    runner = toy_runner(
        stage_1['folder'],
        [hook_of_the_config()],
        backbone=toy_resnet() | dict(depth=34),
        branch=mlp(),
        load_from=stage_1['path'],
    )
    with pytest.raises(ValueError, match='only 100 tensors of .* carries over'):
        runner.train()


def test_a_mask_token_that_the_stage_before_did_not_have_is_new(tmp_path):
    runner = SimpleNamespace(_resume=False, _load_from='dino.pth', logger=MMLogger.get_instance('carry_over'))
    runner.model = nn.Module()
    runner.model.backbone = nn.Linear(2, 2)
    state = runner.model.state_dict()
    runner.model.backbone.mask_token = nn.Parameter(torch.zeros(1, 1, 2))
    checkpoint = dict(state_dict=dict(state))
    CarryOverHook().after_load_checkpoint(runner, checkpoint)
    assert set(checkpoint['state_dict']) == set(state)
    with pytest.raises(ValueError, match='missing: backbone.bias.*viewplug.InitFromSSL in its place translates'):
        CarryOverHook().after_load_checkpoint(runner, dict(state_dict={'backbone.weight': state['backbone.weight']}))


@pytest.mark.parametrize(('more', 'deeper'), [('layer1.2.conv1.weight', True), ('layer5.0.conv1.weight', False)])
def test_a_deeper_backbone_is_refused_and_one_of_more_stages_is_not(more, deeper, stage_1, tmp_path):
    """ResNet-34's weights fill a ResNet-18, of whose features they are not."""
    path = tmp_path / 'deeper.pth'
    torch.save(dict(meta={}, state_dict={**stage_1['state'], f'backbone.{more}': torch.ones(2, 2)}), path)
    if not deeper:
        started(stage_1['folder'], hook_of_the_config(), str(path))
        return
    runner = toy_runner(stage_1['folder'], [hook_of_the_config()], branch=hcl(), load_from=str(path))
    with pytest.raises(ValueError, match=rf'backbone\.\* \(such as backbone\.{more}\).*network is deeper'):
        runner.train()
