"""PreflightHook: what would not be noticed for hours."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from mmengine import Config
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.runner import ValLoop
from processes import in_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from toy_runs import log_of, toy_runner
from toys import ToyImages, mlp_branch, toy_resnet

from viewplug.batch_views import BatchViews
from viewplug.box_store import BoxStore
from viewplug.config.switches import add_speed_hook, place_views
from viewplug.config.unfollowed_keys import check_followed
from viewplug.frameworks import Siamese
from viewplug.hooks import LocalizationHook, PreflightHook, StepSpeedHook, preflight
from viewplug.hooks.preflight import (
    check_loader,
    check_validation,
    warn_of_missing_boxes,
    warn_of_one_ranks_statistics,
    warn_of_waiting,
)
from viewplug.registry import MODELS


@pytest.mark.parametrize(('counts', 'interval', 'warned'), [(2, 1, True), (1, 2, True), (2, 2, False), (1, 1, False)])
def test_a_target_that_does_not_move_with_the_optimiser_is_a_warning(counts, interval, warned, tmp_path):
    target = dict(type='viewplug.MomentumTarget', momentum=0.9, update_interval=interval)
    runner = toy_runner(tmp_path, [PreflightHook()], branch=mlp_branch(), target=target, max_epochs=1)
    runner.optim_wrapper['accumulative_counts'] = counts
    runner.train()
    said = f'once in {counts} forwards (optim_wrapper.accumulative_counts), and the momentum target moves once in '
    said += f'{interval},'
    assert (said in log_of(tmp_path)) is warned


@pytest.mark.parametrize('idle', [True, False])
def test_parameters_that_no_loss_of_the_first_step_depends_on_are_a_warning(idle, tmp_path):
    branch = mlp_branch()
    neck = MODELS.build(dict(branch['neck'], in_channels=64))
    if idle:
        neck.unused = nn.Linear(2, 2)
    runner = toy_runner(tmp_path, [PreflightHook()], branch=dict(branch, neck=neck), max_epochs=1)
    runner.train()
    said = 'depends on 2 parameters (branches.image.neck.unused.weight, branches.image.neck.unused.bias): they did not'
    said += ' learn, and several processes would stop at the second step'
    assert log_of(tmp_path).count('no loss of the first step') == idle and (said in log_of(tmp_path)) is idle
    assert not any(one._post_accumulate_grad_hooks for one in runner.model.parameters())


@pytest.mark.parametrize(
    'settings', [dict(find_unused_parameters=True), dict(model_wrapper_cfg=dict(find_unused_parameters=True))]
)
def test_nothing_is_said_of_processes_that_go_on_without_some_gradients(settings, tmp_path):
    branch = mlp_branch()
    neck = MODELS.build(dict(branch['neck'], in_channels=64))
    neck.later = nn.Linear(2, 2)
    toy_runner(tmp_path, [PreflightHook()], branch=dict(branch, neck=neck), max_epochs=1, cfg=settings).train()
    assert 'they did not learn. Use them' in log_of(tmp_path)


def test_a_target_without_momentum_has_nothing_to_move(tmp_path):
    target = dict(type='viewplug.StopGradTarget')
    runner = toy_runner(tmp_path, [PreflightHook()], branch=mlp_branch(), target=target, max_epochs=1)
    runner.optim_wrapper['accumulative_counts'] = 2
    runner.train()
    assert 'PreflightHook: the optimiser' not in log_of(tmp_path)


@pytest.mark.parametrize(
    ('keys', 'said'),
    [
        (dict(views='device'), r"views='device' is a key for tools/train\.py.*place_views\(cfg\)"),
        (dict(speed=dict(channels_last=True)), r'speed=.* is a key for tools/train\.py.*add_speed_hook\(cfg\)'),
    ],
)
def test_a_runner_that_passes_over_keys_of_its_config_is_stopped(keys, said, tmp_path):
    runner = toy_runner(tmp_path, [PreflightHook()], branch=mlp_branch(), max_epochs=1)
    runner.cfg.merge_from_dict(keys)
    with pytest.raises(ValueError, match=said):
        runner.train()


class Frozen(nn.BatchNorm1d):
    """As ``norm_eval=True`` has it."""

    def train(self, mode: bool = True):
        return super().train(False)


def said_of(settings: dict, norm: type) -> list[str]:
    said = []
    model = DistributedDataParallel(nn.Sequential(nn.Linear(2, 2), norm(2)), **settings).train()
    logger = SimpleNamespace(warning=said.append)
    warn_of_one_ranks_statistics(SimpleNamespace(model=model, world_size=get_world_size(), logger=logger))
    return said


def all_that_is_said() -> list[int]:
    cases = [({}, nn.BatchNorm1d), ({}, nn.LayerNorm), ({}, Frozen), (dict(broadcast_buffers=False), nn.BatchNorm1d)]
    return [len(said_of(*case)) for case in cases]


def test_running_statistics_of_one_process_for_all_are_a_warning(tmp_path):
    assert in_processes(all_that_is_said, tmp_path) == [[1, 0, 0, 0]] * 2


@pytest.mark.parametrize('frozen', [True, False])
def test_running_statistics_are_looked_at_once_when_the_model_has_its_training_mode(frozen, tmp_path, monkeypatch):
    seen = []

    def look(runner) -> None:
        seen.append(any(one.training for one in runner.model.backbone.modules() if isinstance(one, nn.BatchNorm2d)))

    monkeypatch.setattr(preflight, 'warn_of_one_ranks_statistics', look)
    backbone = toy_resnet() | dict(norm_eval=frozen)
    toy_runner(tmp_path, [PreflightHook()], backbone=backbone, branch=mlp_branch(), max_epochs=2).train()
    assert seen == [not frozen]


def test_keys_that_were_followed_are_no_mistake():
    crop = dict(type='viewplug.RandomResizedCrop', scale=8)
    pipeline = [dict(type='viewplug.MultiView', num_views=2, transforms=[[crop]]), dict(type='PackInputs')]
    cfg = Config(
        dict(
            model=dict(type='viewplug.Siamese'),
            train_dataloader=dict(num_workers=0, dataset=dict(type='viewplug.ShapeScenes', pipeline=pipeline)),
            views='device',
            in_memory=True,
            speed='auto',
        )
    )
    with pytest.raises(ValueError, match='views'):
        check_followed(cfg)
    place_views(cfg)
    with pytest.raises(ValueError, match="speed='auto'"):
        check_followed(cfg)
    add_speed_hook(cfg)
    check_followed(cfg)
    check_followed({**cfg.to_dict(), 'custom_hooks': [StepSpeedHook()]})


def test_what_waits_for_a_validation_that_never_comes_is_a_warning(tmp_path):
    early = dict(type='EarlyStoppingHook', monitor='accuracy')
    best = dict(checkpoint=dict(type='CheckpointHook', save_best='accuracy', rule='greater'))
    runner = toy_runner(tmp_path, [PreflightHook(), early], branch=mlp_branch(), max_epochs=1, default_hooks=best)
    runner.param_schedulers = [dict(type='ReduceOnPlateauLR', monitor='accuracy')]
    runner.train()
    (said,) = [line for line in log_of(tmp_path).splitlines() if 'nothing will come of' in line]
    assert all(part in said for part in ('ReduceOnPlateauLR', 'EarlyStoppingHook', 'checkpoint.save_best'))


@pytest.mark.parametrize(
    ('val_loop', 'hooks'), [(object(), [EarlyStoppingHook('accuracy')]), (None, [CheckpointHook(), PreflightHook()])]
)
def test_no_warning_where_there_is_a_validation_or_nothing_waits_for_one(val_loop, hooks):
    warn_of_waiting(SimpleNamespace(val_loop=val_loop, hooks=hooks, param_schedulers=None, logger=None))


@pytest.mark.parametrize(('forward', 'asked'), [(Siamese.forward, True), (lambda self: None, False)])
def test_a_validation_that_needs_predictions_is_refused_unless_a_model_of_ones_own_makes_them(forward, asked):
    model = type('Model', (nn.Module,), dict(forward=forward))()
    runner = SimpleNamespace(model=model, val_loop=object.__new__(ValLoop))
    with pytest.raises(ValueError, match='ask Model for predictions') if asked else nullcontext():
        check_validation(runner)
    check_validation(SimpleNamespace(model=model, val_loop=None))


@pytest.mark.parametrize('in_batch', [False, True])
@pytest.mark.parametrize(
    ('settings', 'hooks', 'said'),
    [
        (dict(), [], True),
        (dict(), [LocalizationHook(start=1, interval=1)], False),
        (dict(localize=False), [], False),
        (dict(store='boxes'), [], False),
    ],
)
def test_a_crop_that_waits_for_boxes_that_nobody_finds_is_a_warning(settings, hooks, said, in_batch, tmp_path):
    if 'store' in settings:
        settings = dict(store=str(tmp_path / 'boxes.npy'))
        BoxStore(settings['store']).write([[0, 0, 1, 1]])
    views = [[dict(type='viewplug.ContrastiveCrop', scale=8, **settings)]]
    pipeline = [] if in_batch else [dict(type='viewplug.MultiView', num_views=2, transforms=views)]
    model = SimpleNamespace(data_preprocessor=BatchViews(views, 2) if in_batch else None)
    lines = []
    warn_of_missing_boxes(
        SimpleNamespace(
            hooks=hooks,
            train_dataloader=SimpleNamespace(dataset=ToyImages(pipeline=pipeline)),
            model=model,
            logger=SimpleNamespace(warning=lines.append),
        )
    )
    assert len(lines) == said and all('no viewplug.LocalizationHook' in line for line in lines)


@pytest.mark.parametrize(
    ('images', 'processes', 'way'),
    [(40, 1, r'batch_size=10$'), (3, 1, r'batch_size=2$'), (1, 1, 'more images'), (3, 2, 'more images')],
)
def test_the_batch_advised_for_a_small_data_set_is_one_that_batch_norm_takes(images, processes, way):
    with pytest.raises(
        ValueError, match=rf'\({images} images?\), and drop_last=True .* no step would ever run\. .*{way}'
    ):
        check_loader(DataLoader(range(images), 64, drop_last=True), processes)
