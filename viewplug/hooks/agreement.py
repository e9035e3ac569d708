"""Whether all processes of a run begin alike, asked before the first step."""

from __future__ import annotations

import socket
import zlib

import torch
from mmengine.dist import all_gather_object, get_world_size
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from viewplug.datasets.leaves import leaf_datasets
from viewplug.hooks.image_fingerprint import image_fingerprint

SHARED = (
    'to go on from the latest checkpoint give all processes one work_dir (not a folder on each node), or --resume PATH'
)
ADVICE = {
    'images': 'they are dealt out by number, so some would be left out and others seen twice; give all nodes the same '
    'data set (train_dataloader.dataset, and what `find DIR | sort | md5sum` says of its folder)',
    'batches an epoch': 'one would wait for the other at the end; set train_dataloader.batch_size alike',
    'progress': SHARED,
    'weights': f'their gradients would be averaged all the same; {SHARED}, and load_from the same file',
    'lr': 'their weights would part; start all processes with one config',
}
"""What processes must share, and what to do where they do not."""


def check_agreement(runner) -> None:
    """Compare what mmengine and torch take for granted: nobody else would say that processes train on other images,
    or go on from other checkpoints (a work_dir on each node's own disk).

    Of images :func:`viewplug.hooks.image_fingerprint.image_fingerprint` counts, of weights a checksum of every tensor
    in DistributedDataParallel (of other wrappers processes hold parts). One small collective; call it on all processes.

    Raises:
        ValueError: on every process, with the first thing in which two differ and their values.
    """
    if get_world_size() == 1:
        return
    everyone = all_gather_object(_facts(runner))
    for name, advice in ADVICE.items():
        other = next((rank for rank, facts in enumerate(everyone) if facts[name] != everyone[0][name]), None)
        if other is not None:
            said = (f'{everyone[rank][name]} in process {rank} ({everyone[rank]["where"]})' for rank in (0, other))
            raise ValueError(f'processes begin with different {name}, {" and ".join(said)}: {advice}')


def _facts(runner) -> dict[str, str]:
    leaves = leaf_datasets(runner.train_dataloader)
    model = runner.model
    return {
        'where': f'{socket.gethostname()}, {f"from {runner._load_from}" if runner._load_from else "no checkpoint"}',
        'images': ', '.join(f'{len(leaf)} (fingerprint {image_fingerprint(leaf)[:8]})' for leaf in leaves),
        'batches an epoch': str(len(runner.train_dataloader)),
        'progress': f'epoch {runner.epoch}, iteration {runner.iter}',
        'weights': f'checksum {checksum(model):08x}' if isinstance(model, DistributedDataParallel) else '',
        'lr': str({name: sorted(set(values)) for name, values in runner.optim_wrapper.get_lr().items()}),
    }


def checksum(model: nn.Module) -> int:
    """CRC-32 of all weights and buffers."""
    number = 0
    for value in model.state_dict().values():
        if isinstance(value, torch.Tensor):
            number = zlib.crc32(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy(), number)
    return number
