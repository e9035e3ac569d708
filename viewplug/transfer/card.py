"""Where a backbone comes from, in a form that travels with it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import torch
from torch import Tensor

from viewplug.transfer.recorded import recorded_commit, recorded_config, recorded_normalisation, recorded_order


def card_of(path: str | os.PathLike, checkpoint: dict, state: dict[str, Tensor]) -> dict:
    """What a run checkpoint says of itself; None where it does not.

    Args:
        path: the checkpoint.
        checkpoint: its content.
        state: the weights that are taken from it.

    Returns:
        ``config_name``, ``config`` (its text), ``commit`` (of the repository that the run was started in), ``epochs``,
        ``iterations``, ``data``, ``normalisation``, ``channel_order`` (as the network saw images), ``backbone``,
        ``seed``, ``finished``, and hashes (sha256) of the checkpoint and of the weights.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint.get('meta'), dict) else {}
    config = recorded_config(checkpoint)
    model = config.get('model') or {}
    return dict(
        config_name=re.sub(r'_\d{8}_\d{6}$', '', meta.get('experiment_name') or '') or None,
        config=meta.get('cfg') or None,
        commit=recorded_commit(checkpoint),
        epochs=meta.get('epoch', checkpoint.get('epoch')),
        iterations=meta.get('iter'),
        data=_data(config),
        normalisation=recorded_normalisation(config),
        channel_order=recorded_order(config),
        backbone=model.get('backbone'),
        seed=meta.get('seed'),
        finished=meta.get('time'),
        tensors=len(state),
        parameters=sum(value.numel() for key, value in state.items() if not _is_statistic(key)),
        source=Path(path).name,
        source_sha256=sha256_of_file(path) if os.path.isfile(path) else None,
        weights_sha256=sha256_of_weights(state),
    )


def sha256_of_file(path: str | os.PathLike) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_weights(state: dict[str, Tensor]) -> str:
    """Over names, types, shapes and values, in the order of the names: the same in every format with these names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16
    return digest.hexdigest()


def _data(config: dict) -> dict | None:
    dataset = (config.get('train_dataloader') or {}).get('dataset')
    while isinstance(dataset, dict) and isinstance(dataset.get('dataset'), dict):  # RepeatDataset and the like
        dataset = dataset['dataset']
    if not isinstance(dataset, dict):
        return None
    return {key: value for key, value in dataset.items() if isinstance(value, str | int | float) or value is None}


def _is_statistic(name: str) -> bool:
    return name.endswith(('running_mean', 'running_var', 'num_batches_tracked'))
