"""Runs of every framework on a pretended GPU: the weights of a CPU, and an iteration waits only where it must."""

import contextlib
from argparse import Namespace
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
import torch
from gpu_tensor import GpuTensor
from mmengine.runner import EpochBasedTrainLoop
from pretend_gpu import pretend_gpu
from toy_runs import log_of

from viewplug.run.launch import train

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    'train_dataloader.batch_size': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.dataset.num_images': 24,
    'train_dataloader.dataset.image_size': 32,
    'custom_hooks.0.train_dataloader.dataset.num_images': 24,
    'custom_hooks.0.val_dataloader.dataset.num_images': 24,
    'default_hooks.checkpoint.interval': 1,
}
NARROW = {'model.backbone.base_channels': 4, 'model.backbone.stem_channels': 4}
# mmengine reads each number of the log, the norm of clipped gradients among them.
LOG = 'value = value.item()'
# Where else an iteration may wait, and how often: batches of a loader are copied.
LOADER = {'return data.to(self.device, non_blocking=self._non_blocking)': 2}
DEMOS = {
    'mocov2_hcl_r50': (NARROW, {}),
    'contrastive_crop/cifar10/moco_ccrop': (NARROW, {}),
    'mocov1_r50': ({**NARROW, 'speed.fused_optimizer': True}, {}),
    'byol_r50': (NARROW, {}),
    'simsiam_r50': (NARROW, {}),
    'simclr/table3_noise': (NARROW, {}),
    'resim/mocov2_ccrop_hcl_resim_r50': (NARROW, {}),
    'adclr/adclr_ibot_vit_small_in1k': ({}, {}),
    'cpc/cpc_v2_r50': ({}, LOADER),
    'pretext/jigsaw_r50': ({}, LOADER),
}
# torch has attention kernels by device, and picks.
ATTENTION = {f'aten::_scaled_dot_product_flash_attention_for_cpu{part}' for part in ('', '_backward')}


def demo(config: str, work_dir: Path, options: dict, amp: str | None = None) -> Namespace:
    return Namespace(
        config=str(ROOT / f'configs/{config}.py'),
        work_dir=str(work_dir),
        cfg_options={**TINY, **options},
        amp=amp,
        demo=True,
        epochs=1,
        stages=False,
        data_root=None,
        resume=None,
        launcher='none',
    )


def trained(args: Namespace) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    train(args)
    return torch.load(Path(args.work_dir) / 'epoch_1.pth', weights_only=False)['state_dict']


@contextlib.contextmanager
def waits_of_an_iteration(gpu):
    """How often each line waits from the second batch's step to the third's: hooks, log and loader included."""
    found, starts, run_iter = Counter(), [], EpochBasedTrainLoop.run_iter

    def watched(self, *args, **kwargs):
        starts.append(len(gpu.waits))
        run_iter(self, *args, **kwargs)

    with mock.patch.object(EpochBasedTrainLoop, 'run_iter', watched):
        yield found
    found.update(line.split(' ', 1)[1] for line in gpu.waits[starts[1] : starts[2]])


def has_cuda_kernel(operator) -> bool:
    """A torch built for GPUs knows without one; one built for CPUs cannot be asked."""
    keys = ('CUDA', 'CompositeExplicitAutograd', 'CompositeExplicitAutogradNonFunctional', 'CompositeImplicitAutograd')
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return torch.version.cuda is None or any(has(operator.name(), key) for key in keys)


@pytest.mark.parametrize('config', DEMOS)
def test_a_run_takes_the_steps_of_a_cpu_and_does_not_wait_for_them(config, tmp_path):
    options, excused = DEMOS[config]
    expected = trained(demo(config, tmp_path / 'cpu', options))
    with pretend_gpu() as gpu, waits_of_an_iteration(gpu) as waits:
        found = trained(demo(config, tmp_path / 'gpu', options))
    assert gpu.waits  # its log at least has read the loss
    assert waits.pop(LOG) and waits == excused
    assert {operator.name() for operator in gpu.operators if not has_cuda_kernel(operator)} <= ATTENTION
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert not isinstance(found[key], GpuTensor)
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=key)


def test_an_iteration_without_a_log_need_not_wait_at_all(tmp_path):
    """Of the three, only the last writes a log."""
    late = {'default_hooks.runtime_info.type': 'viewplug.LateRuntimeInfoHook'}
    with pretend_gpu() as gpu, waits_of_an_iteration(gpu) as waits:
        trained(demo('mocov2_hcl_r50', tmp_path, {**NARROW, **late}))
    assert not waits
    assert any(LOG in line for line in gpu.waits)


@pytest.mark.parametrize(
    ('precision', 'excused'), [('bf16', {}), ('fp16', {'self.loss_scaler.step(self.optimizer, **kwargs)': 1})]
)
def test_only_fp16_needs_to_look_for_infinities_at_every_step(precision, excused, tmp_path):
    with pretend_gpu() as gpu, waits_of_an_iteration(gpu) as waits:
        weights = trained(demo('mocov2_r50', tmp_path, NARROW, amp=precision))
    assert waits.pop(LOG) and waits == excused
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


def test_fp16_goes_on_where_bf16_stopped(tmp_path):
    with pretend_gpu():
        trained(demo('mocov2_r50', tmp_path, NARROW, amp='bf16'))
        first = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
        args = demo('mocov2_r50', tmp_path, NARROW, amp='fp16')
        args.resume, args.epochs = 'auto', 2
        train(args)
        args = demo('mocov2_r50', tmp_path, NARROW, amp='bf16')
        args.resume, args.epochs = 'auto', 3
        train(args)
    assert first['optimizer']['loss_scaler'] == {}
    second, third = (torch.load(tmp_path / f'epoch_{epoch}.pth', weights_only=False) for epoch in (2, 3))
    assert second['optimizer']['loss_scaler']['scale'] > 0 and second['meta']['epoch'] == 2
    assert third['optimizer']['loss_scaler'] == {} and third['meta']['epoch'] == 3
    assert 'The checkpoint has no loss scale; fp16 begins with 65536.' in log_of(tmp_path)
