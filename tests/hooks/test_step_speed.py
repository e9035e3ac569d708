"""Each switch leaves losses, weights and checkpoints what they were."""

import itertools
import re
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS
from mmengine.runner import Runner
from processes import in_processes
from torch import nn
from torch.utils.data import Dataset
from toys import ToyBackbone, hcl_branch, mlp_branch, toy_resnet, toy_siamese, toy_views

from viewplug.hooks import StepSpeedHook, step_speed
from viewplug.hooks.step_speed import StepForward, backbones, check_channels_last, check_fusable, fuse

BACKEND = dict(backend='aot_eager')  # traces forward and backward as inductor does, without its compiler
SWITCHES = {
    'channels_last': dict(channels_last=True),
    'compile_backbone': dict(compile_backbone=BACKEND),
    'fused_optimizer': dict(fused_optimizer=True),
    'all': dict(channels_last=True, compile_backbone=BACKEND, fused_optimizer=True),
}
SGD = dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-2)
# Without its last stages, whose batch norm over a few numbers would blow rounding up.
NETWORK = dict(toy_resnet(), base_channels=16, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
numbers = itertools.count()


def fusable(kind) -> bool:
    try:
        check_fusable(kind([nn.Parameter(torch.zeros(1))], lr=0.1))
    except ValueError:
        return False
    return True


needs_fused = pytest.mark.skipif(not fusable(torch.optim.SGD), reason='this torch has no fused SGD on a CPU')


def with_fused(names):
    return [pytest.param(name, marks=needs_fused if 'fused' in name or name == 'all' else ()) for name in names]


class Views(Dataset):
    """Two fixed random views of each of 12 images."""

    def __init__(self, dtype=torch.float32) -> None:
        self.dtype = dtype

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index):
        views = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(index))
        return list(views.to(self.dtype))


class Record(Hook):
    """Losses; stops before epoch ``stop_before``; which networks run compiled within steps."""

    def __init__(self, stop_before=None):
        self.losses, self.stop_before = [], stop_before

    def before_train_epoch(self, runner):
        if runner.epoch == self.stop_before:
            raise KeyboardInterrupt

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())


def moco(**target):
    return dict(
        type='viewplug.Siamese',
        backbone=NETWORK,
        target=dict(type='viewplug.MomentumTarget', momentum=0.9, **target),
        branches=dict(image=mlp_branch()),
        data_preprocessor=dict(type='mmengine.BaseDataPreprocessor'),
    )


def stock(kind):
    """mmpretrain's own model, on the toy backbone."""
    loss = dict(type='mmpretrain.CrossEntropyLoss')
    neck = dict(in_channels=32, hid_channels=16, out_channels=16)
    parts = dict(
        MoCo=dict(
            neck=dict(type='mmpretrain.MoCoV2Neck', **neck),
            head=dict(type='mmpretrain.ContrastiveHead', loss=loss),
            queue_len=24,
            feat_dim=16,
        ),
        SimSiam=dict(
            neck=dict(type='mmpretrain.NonLinearNeck', with_last_bn=True, **neck),
            head=dict(
                type='mmpretrain.LatentPredictHead',
                loss=dict(type='mmpretrain.CosineSimilarityLoss'),
                predictor=dict(
                    type='mmpretrain.NonLinearNeck',
                    in_channels=16,
                    hid_channels=8,
                    out_channels=16,
                    with_avg_pool=False,
                ),
            ),
        ),
    )[kind]
    preprocessor = dict(type='mmengine.BaseDataPreprocessor')
    return dict(type=f'mmpretrain.{kind}', backbone=NETWORK, data_preprocessor=preprocessor, **parts)


def collate(batch):
    return dict(inputs=[torch.stack(views) for views in zip(*batch, strict=True)], data_samples=None)


def runner(work_dir, switches=None, record=None, model=None, epochs=2, batch_size=4, hooks=(), data=None, **changes):
    """Three steps an epoch."""
    hooks = [*hooks, *([] if switches is None else [StepSpeedHook(**switches)]), *([record] if record else [])]
    changes.setdefault('optim_wrapper', dict(optimizer=SGD))
    return Runner(
        model=model or moco(),
        work_dir=str(work_dir),
        experiment_name=f'step_speed_{next(numbers)}',
        default_scope='mmpretrain',
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=collate,
            dataset=data or Views(),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=hooks,
        randomness=dict(seed=5),
        **changes,
    )


def trained(*args, **settings):
    made = runner(*args, **settings)
    made.train()
    return made


def momenta(runner) -> list[torch.Tensor]:
    state = runner.optim_wrapper.optimizer.state
    parameters = [p for group in runner.optim_wrapper.optimizer.param_groups for p in group['params']]
    return [value for p in parameters for key, value in sorted(state[p].items()) if torch.is_tensor(value)]


def assert_equal(found, expected, tolerance=1e-5) -> None:
    mine, theirs = found.model.state_dict(), expected.model.state_dict()
    assert list(mine) == list(theirs)
    for key, value in mine.items():
        torch.testing.assert_close(value, theirs[key], rtol=tolerance, atol=tolerance, msg=key)
    for one, other in zip(momenta(found), momenta(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    """The run that all others are held against: two epochs of three steps."""
    record = Record()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('plain')
    return trained(folder, record=record), record.losses, folder


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset() if hasattr(torch, 'compiler') else torch._dynamo.reset()


@pytest.mark.parametrize('name', with_fused(SWITCHES))
def test_a_switched_run_takes_the_plain_runs_steps(name, plain, tmp_path):
    record = Record()
    found = trained(tmp_path, SWITCHES[name], record)
    assert record.losses == pytest.approx(plain[1], abs=1e-5)
    assert len(set(record.losses)) == 6
    assert_equal(found, plain[0])


@pytest.mark.skipif(not any(map(shutil.which, ('g++', 'clang++', 'c++'))), reason='no C++ compiler')
def test_inductor_gives_the_plain_forward_gradients_and_batch_statistics():
    from torch._inductor import config

    plain, compiled = ToyBackbone(batch_norm=True), ToyBackbone(batch_norm=True)
    compiled.load_state_dict(plain.state_dict())
    forward = forward_of(compiled, channels_last=True, compile={})
    images, found = torch.randn(6, 3, 16, 16), []
    # Trying which vector instructions the compiler knows would take half a minute.
    with config.patch({'cpp.vec_isa_ok': False} if hasattr(config.cpp, 'vec_isa_ok') else {}):
        for network in (compiled, plain):
            found.append(network(images)[0])
            found[-1].square().mean().backward()
    assert forward._compiled is not None
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(compiled.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def forward_of(network, channels_last=False, compile=None) -> StepForward:
    """Begun."""
    forward = StepForward(network)
    forward.channels_last = channels_last
    if compile is not None:
        forward.compile(**compile)
    forward.begin()
    return forward


def log_of(folder) -> str:
    return ''.join(path.read_text() for path in folder.glob('2*/*.log'))


def tensors(tree):
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(child)


@needs_fused
@pytest.mark.parametrize('kind', ['SGD', 'AdamW'])
def test_a_switched_runs_checkpoint_has_the_layout_and_flags_of_a_plain_ones(kind, tmp_path):
    optimizer = dict(type=kind, lr=0.01)
    saved = []
    for switches in (None, SWITCHES['all']):
        folder = tmp_path / str(len(saved))
        made = trained(folder, switches, epochs=1, batch_size=12, optim_wrapper=dict(optimizer=optimizer))
        saved.append(torch.load(folder / 'epoch_1.pth', weights_only=False))
    expected, found = saved
    assert list(found['state_dict']) == list(expected['state_dict'])
    assert found['optimizer']['param_groups'] == expected['optimizer']['param_groups']
    assert made.optim_wrapper.optimizer.param_groups[0]['fused'] is True
    pairs = list(zip(tensors([found[k] for k in ('state_dict', 'optimizer')]),
                     tensors([expected[k] for k in ('state_dict', 'optimizer')]), strict=True))  # fmt: skip
    assert len(pairs) > 120
    assert all(mine.stride() == theirs.stride() and mine.dtype == theirs.dtype for mine, theirs in pairs)


RESUMES = {
    'switched from switched': (SWITCHES['all'], SWITCHES['all']),
    'switched from plain': (None, SWITCHES['all']),
    'plain from switched': (SWITCHES['all'], None),
}


@needs_fused
@pytest.mark.parametrize('case', RESUMES)
def test_a_run_resumed_by_either_kind_equals_the_unbroken_plain_one(case, plain, tmp_path):
    before, after = RESUMES[case]
    killed, resumed = Record(stop_before=1), Record()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, before, killed)
    again = trained(tmp_path, after, resumed, resume=True)
    assert killed.losses + resumed.losses == pytest.approx(plain[1], abs=1e-5)
    assert_equal(again, plain[0])
    fused = again.optim_wrapper.optimizer.param_groups[0]['fused']
    assert bool(fused) == (after is not None)


@needs_fused
def test_adam_resumes_fused_from_a_plain_checkpoint(tmp_path):
    wrapper = dict(optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-2), accumulative_counts=2)
    expected = trained(tmp_path / 'plain', optim_wrapper=dict(wrapper), batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / 'broken', None, Record(stop_before=1), optim_wrapper=dict(wrapper), batch_size=3)
    found = trained(tmp_path / 'broken', SWITCHES['all'], optim_wrapper=dict(wrapper), batch_size=3, resume=True)
    assert_equal(found, expected)


@pytest.mark.parametrize('kind', ['MoCo', 'SimSiam'])
def test_stock_models_of_mmpretrain_take_the_same_steps(kind, tmp_path):
    switches = dict(SWITCHES['all'], fused_optimizer=fusable(torch.optim.SGD))
    runs = []
    for changes in (None, switches):
        record = Record()
        torch.manual_seed(3)
        model = MODELS.build(stock(kind)).double()  # batch norm of a few vectors would blow float32's rounding up
        folder = tmp_path / str(len(runs))
        runs.append((trained(folder, changes, record, model, epochs=1, data=Views(torch.float64)), record.losses))
    (expected, losses), (found, switched_losses) = runs
    assert switched_losses == pytest.approx(losses, abs=1e-5)
    assert_equal(found, expected)
    assert len(backbones(found.model)) == 1 + (kind == 'MoCo')


def test_copies_of_the_backbone_are_found_by_type_and_names():
    model = toy_siamese(backbone=NETWORK)
    assert backbones(model) == [model.backbone, model.target.backbone]
    with pytest.raises(ValueError, match='Linear has no backbone'):
        backbones(nn.Linear(1, 1))


def histories_on_a_rank():
    """Losses and weights of a plain run, then of switched ones in DDP of two kinds."""
    return [_history(False, False), *(_history(True, as_bucket_view) for as_bucket_view in (False, True))]


def _history(switched: bool, as_bucket_view: bool):
    torch.manual_seed(1)
    model = toy_siamese(backbone=NETWORK, target=dict(type='MomentumTarget', momentum=0.9))
    wrapped = MMDistributedDataParallel(
        model, device_ids=None, broadcast_buffers=False, gradient_as_bucket_view=as_bucket_view
    )
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    hook = StepSpeedHook(**(dict(SWITCHES['all'], fused_optimizer=fusable(torch.optim.SGD)) if switched else {}))
    runner = stand_in(wrapped, OptimWrapper(optimizer))
    hook.before_train(runner)
    torch.manual_seed(2)
    losses = []
    for step in range(3):
        views = [view.chunk(2)[get_rank()] for view in toy_views(8, 32)]
        hook.before_train_iter(runner, step)
        loss = sum(wrapped(views, None, mode='loss').values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        hook.after_train_iter(runner, step)
        losses.append(loss.item())
    assert len(hook._forwards) == 2 * switched and all(forward._compiled for forward in hook._forwards)
    return losses, model.state_dict()


def stand_in(model, optim_wrapper):
    """What the hook asks of a Runner; ``said`` collects the log."""
    said = []
    logger = SimpleNamespace(info=said.append)
    return SimpleNamespace(model=model, optim_wrapper=optim_wrapper, logger=logger, said=said)


def test_two_processes_take_the_same_steps_under_all_switches(tmp_path):
    ranks = in_processes(histories_on_a_rank, tmp_path)
    for (plain_losses, plain_state), *switched in ranks:
        for losses, state in switched:
            assert losses == pytest.approx(plain_losses, abs=1e-5)
            for key, value in state.items():
                torch.testing.assert_close(value, plain_state[key], rtol=1e-5, atol=1e-5, msg=key)
    assert ranks[0][0][0] != ranks[1][0][0]  # each had images of its own


def failing(graph, inputs, after: int = 0):
    """A backend whose compiler is missing."""
    raise RuntimeError('no C++ compiler found')


def test_where_compiling_fails_one_warning_says_so_and_the_run_is_the_plain_one(plain, tmp_path):
    record = Record()
    found = trained(tmp_path, dict(compile_backbone=dict(backend=failing)), record)
    assert record.losses == plain[1]
    assert_equal(found, plain[0], tolerance=0)
    log = log_of(tmp_path)
    assert 1 <= log.count('the run goes on uncompiled') <= 2  # once for each network, unless torch remembers
    assert 'no C++ compiler found' in log


class TwoParts(nn.Module):
    """Its forward compiles in two parts."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.first(x)
        torch._dynamo.graph_break()
        return self.second(x)


def test_batch_norm_does_not_count_a_forward_whose_later_part_failed_to_compile():
    graphs = []

    def fails_late(graph, inputs):
        graphs.append(graph)
        if len(graphs) > 1:
            raise RuntimeError('no')
        return graph.forward

    network = TwoParts()
    forward_of(network, compile=dict(backend=fails_late))
    network(torch.randn(4, 3, 2, 2))
    assert len(graphs) > 1
    assert network.first.num_batches_tracked == network.second.num_batches_tracked == 1


def test_a_batch_of_another_size_and_evaluation_run_compiled_too():
    network, backend = ToyBackbone(batch_norm=True), Counting()
    forward = forward_of(network, compile=dict(backend=backend))
    for number, size in enumerate((16, 16, 24)):
        images = torch.randn(number + 2, 3, size, size)
        network.train(number != 1)
        statistics = [buffer.clone() for buffer in network.buffers()]
        found = network(images)[0]
        for buffer, value in zip(network.buffers(), statistics, strict=True):
            buffer.copy_(value)
        torch.testing.assert_close(found, forward._plain(images)[0])
    assert backend.calls == 3


def test_an_error_of_the_networks_own_stays_what_it_is():
    network = ToyBackbone()
    forward_of(network, compile=BACKEND)
    with pytest.raises(RuntimeError, match='expected input.* to have 3 channels'):
        network(torch.randn(2, 4, 16, 16))


class Counting:
    """A backend that runs what it is given and counts."""

    def __init__(self):
        self.calls = 0

    def __call__(self, graph, inputs):
        def run(*args):
            self.calls += 1
            return graph.forward(*args)

        return run


class Outside(Hook):
    """Runs both networks outside of steps."""

    def after_train_epoch(self, runner):
        with torch.no_grad():
            for network in backbones(runner.model):
                network.eval()
                network(torch.randn(3, 3, 48, 48))
                network.train()


def test_only_forwards_of_training_steps_are_compiled(tmp_path):
    backend = Counting()
    made = trained(tmp_path, dict(compile_backbone=dict(backend=backend)), hooks=[Outside()], epochs=1, batch_size=6)
    assert backend.calls == 4  # two steps, online and target
    assert all('forward' not in vars(network) for network in backbones(made.model))


def test_a_hook_set_inside_later_is_called_and_lets_go_again():
    network, backend, heard = ToyBackbone(), Counting(), []
    forward_of(network, compile=dict(backend=backend))
    images = torch.randn(2, 3, 16, 16)
    expected = network(images)[0]
    handle = network.layers[0].register_forward_hook(lambda *args: heard.append(1))
    assert torch.equal(network(images)[0], expected)
    assert heard == [1] and backend.calls == 1
    handle.remove()
    network(images)
    assert heard == [1] and backend.calls == 2


def test_a_replaced_forward_is_put_back():
    network = ToyBackbone()
    mine = network.forward = partial(ToyBackbone.forward, network)
    forward = forward_of(network)
    assert network.forward is forward
    forward.end()
    assert network.forward is mine


@needs_fused
def test_a_momentum_in_another_memory_order_is_not_mixed_up():
    layouts = torch.contiguous_format, torch.channels_last
    steps = []
    for layout in layouts:
        weight = nn.Parameter(torch.arange(24.0).view(1, 2, 3, 4))
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        optimizer.state[weight]['momentum_buffer'] = (
            torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=layout)
        )
        fuse(optimizer)
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        steps.append(weight.detach())
    assert torch.equal(*steps)
    torch.testing.assert_close(steps[0], 0.91 * torch.arange(24.0).view(1, 2, 3, 4))


class Layouts(Hook):
    """Whether the last stage's output is in channels-last order, and is the input still the preprocessor's tensor?"""

    def before_train(self, runner):
        self.inside, self.same = [], []
        runner.model.data_preprocessor.register_forward_hook(lambda module, args, output: setattr(self, 'data', output))
        for network in backbones(runner.model):
            network.register_forward_hook(self.look)

    def look(self, module, args, output):
        order = output[-1].is_contiguous(memory_format=torch.channels_last) and not output[-1].is_contiguous()
        self.inside.append(order)
        self.same.append(any(args[0] is view for view in self.data['inputs']))


@pytest.mark.parametrize('on', [True, False])
def test_convolutions_work_in_channels_last_order_and_hooks_see_the_images_as_they_were(on, tmp_path):
    layouts = Layouts()
    trained(tmp_path, dict(channels_last=on), hooks=[layouts], epochs=1, batch_size=6)
    assert layouts.inside == [on] * 4 and layouts.same == [True] * 4


def test_hcl_which_reads_maps_of_every_stage_takes_the_same_steps(tmp_path):
    records = Record(), Record()
    for record, switches in zip(records, (None, SWITCHES['channels_last']), strict=True):
        model = moco()
        model['backbone'] = dict(toy_resnet(), base_channels=16)
        model['branches'] = dict(image=hcl_branch(input_size=32))
        trained(tmp_path / str(switches), switches, record, model, epochs=1, batch_size=6)
    assert records[1].losses == pytest.approx(records[0].losses, abs=1e-3)


@needs_fused
@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='this torch has no GradScaler for a CPU')
@pytest.mark.parametrize('clip', [False, True])
def test_a_scaled_loss_is_unscaled_once_and_an_infinite_one_skipped(clip):
    weights = []
    for fused in (False, True):
        weight = nn.Parameter(torch.ones(5))
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        if fused:
            fuse(optimizer)
            built = torch.optim.SGD([weight], lr=0.1, fused=True)
            assert optimizer._step_supports_amp_scaling == built._step_supports_amp_scaling
        scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
        history = []
        for factor in (1.0, float('inf'), 2.0):
            scaler.scale((factor * weight.square()).sum()).backward()
            if clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_([weight], 0.5)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            history.append(weight.detach().clone())
        weights.append(torch.stack(history))
    torch.testing.assert_close(*weights)
    assert torch.equal(weights[1][0], weights[1][1]) and not torch.equal(weights[1][1], weights[1][2])


@needs_fused
def test_several_optimisers_are_all_fused_and_saved_plain(tmp_path):
    model = toy_siamese()
    parts = dict(backbone=model.backbone, neck=model.branches.image.neck)
    wrappers = {
        name: OptimWrapper(torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9)) for name, part in parts.items()
    }
    hook = StepSpeedHook(fused_optimizer=True)
    runner = stand_in(model, OptimWrapperDict(**wrappers))
    hook.before_train(runner)
    assert all(one.optimizer.param_groups[0]['fused'] for one in wrappers.values())
    checkpoint = dict(state_dict=model.state_dict(), optimizer=runner.optim_wrapper.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    assert [state['param_groups'][0]['fused'] for state in checkpoint['optimizer'].values()] == [None, None]
    assert all(one.optimizer.param_groups[0]['fused'] for one in wrappers.values())


class Other(torch.optim.SGD):
    """Not torch's own."""


def test_an_optimiser_without_a_fused_kernel_is_refused_by_name_or_left_alone(tmp_path, monkeypatch):
    model = toy_siamese()
    wrapper = OptimWrapper(Other(model.parameters(), lr=0.1))
    runner = stand_in(model, wrapper)
    with pytest.raises(ValueError, match='fused_optimizer=True, but Other has no fused kernel.*set it to False'):
        StepSpeedHook(fused_optimizer=True).before_train(runner)
    monkeypatch.setitem(step_speed.GAINS['cpu'], 'fused_optimizer', True)
    StepSpeedHook(fused_optimizer='auto').before_train(runner)
    assert "fused_optimizer off ('auto': Other has no fused kernel" in runner.said[-1]
    assert not wrapper.optimizer.param_groups[0].get('fused')


def test_a_torch_without_the_kernel_is_named(monkeypatch):
    def old(*args, fused=None, **kwargs):
        raise TypeError("unexpected keyword argument 'fused'")

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    monkeypatch.setattr(torch.optim.SGD, '__init__', old)
    with pytest.raises(ValueError, match=r'torch \S+ has no fused SGD on cpu'):
        check_fusable(optimizer)


def test_auto_follows_the_table_of_measured_gains_and_the_log_says_why(plain, tmp_path, monkeypatch):
    gains = dict(channels_last=True, compile_backbone=False, fused_optimizer=None)
    monkeypatch.setitem(step_speed.GAINS, 'cpu', gains)
    found = trained(tmp_path, dict.fromkeys(gains, 'auto'), epochs=1)
    assert not found.optim_wrapper.optimizer.param_groups[0].get('fused')
    expected = (
        "StepSpeedHook on cpu: channels_last on, compile_backbone off ('auto': no gain measured on cpu), "
        "fused_optimizer off ('auto': not measured on cpu)"
    )
    assert expected in log_of(tmp_path)


@pytest.mark.parametrize(
    ('name', 'value'),
    [('channels_last', 'yes'), ('compile_backbone', 3), ('fused_optimizer', dict(a=1)), ('tf32', 'auto')],
)
def test_another_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf'{name} must be True(, False| or False).*got {re.escape(repr(value))}'):
        StepSpeedHook(**{name: value})


def test_wrong_arguments_of_torch_compile_are_refused_in_its_words():
    hook = StepSpeedHook(compile_backbone=dict(bakend='inductor'))
    with pytest.raises(ValueError, match='compile_backbone=.*bakend'):
        hook.before_train(stand_in(toy_siamese(), OptimWrapperDict()))


def test_channels_last_is_refused_where_torchs_cpu_kernels_crash():
    narrow = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1, stride=2))
    with pytest.raises(ValueError, match='backbone.1 has 8 channels'):
        check_channels_last(narrow)
    check_channels_last(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 32, 1, stride=2)))
