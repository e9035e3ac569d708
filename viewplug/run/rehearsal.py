"""The first step of a run that begins in days, tried now."""

from __future__ import annotations

import copy

import torch
from mmengine import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from viewplug.config.model_config import model_config
from viewplug.random_states import kept_random_state
from viewplug.registry import class_name


def rehearse(cfg: Config, batch: int = 2) -> None:
    """Build model and data of ``cfg`` and take the loss of one small batch, on a CPU; nothing is kept.

    Raises:
        Exception: whatever the run itself would raise before or in its first step: a key that does not fit, views of
            a size that the neck does not expect.
    """
    cfg = copy.deepcopy(cfg)
    model, loader = model_config(cfg), cfg.train_dataloader
    loader.batch_size, loader.num_workers, loader.persistent_workers = batch, 0, False
    for key in ('prefetch_factor', 'timeout', 'multiprocessing_context'):  # of workers
        loader.pop(key, None)
    if class_name(loader.dataset.type) == 'InMemoryDataset':
        loader.dataset.device = 'cpu'
    if model.get('target', {}).get('shuffle_bn'):
        model.target.shuffle_bn = False  # this is one process, whatever the run is
    hub = MessageHub.get_instance('rehearsal')  # what the Runner says to schedules inside the model
    for key, value in dict(loop_stage='train', epoch=0, iter=0, max_epochs=2, max_iters=2).items():
        hub.update_info(key, value)
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine'))
    try:
        with scope, kept_random_state(gpu=False), torch.no_grad():
            built = MODELS.build(model).train()
            data = built.data_preprocessor(next(iter(Runner.build_dataloader(loader, seed=0))), True)
            built(**data, mode='loss')
    finally:
        MessageHub._instance_dict.pop('rehearsal')
