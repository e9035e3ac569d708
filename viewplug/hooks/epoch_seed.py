"""Random numbers keyed by (seed, epoch, rank, worker)."""

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from viewplug.batch_views import BatchViews
from viewplug.data_passes import tell_iters_per_pass
from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped

PROCESSES = 'world_size'
"""Key in a checkpoint's ``meta``."""


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed every process anew before each epoch, from (seed, epoch, rank), and each loader worker from its worker id.

    Without it mmengine repeats the same crops in every epoch (workers that are not persistent are seeded alike each
    time) and on every rank (no workers). With it a run resumed at an epoch's end equals the unbroken one, to the bit on
    CPU, as long as there are as many processes as before, which a checkpoint notes (a warning says otherwise), and
    workers are not persistent: those keep random states that no checkpoint holds, which is said in the log once. An
    iteration-based run is one epoch, and resumed it draws the numbers of its beginning again; views that
    ``viewplug.BatchViews`` makes, from the number of the batch, are those of the unbroken one.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        loader = runner.train_dataloader
        loader.worker_init_fn = seed_worker
        tell_iters_per_pass(runner)
        if getattr(loader, 'persistent_workers', False):
            runner.logger.info(
                'EpochSeedHook: train_dataloader.persistent_workers=True, so a resumed run will not repeat the '
                'unbroken one exactly (the workers keep random states of their own); set it to False if it must.'
            )
        model = unwrapped(runner.model)
        in_batch = isinstance(getattr(model, 'data_preprocessor', None), BatchViews)
        if isinstance(runner.train_loop, IterBasedTrainLoop) and runner.iter and not in_batch:
            runner.logger.info(
                f'EpochSeedHook: resumed at iteration {runner.iter} of an iteration-based loop, so this run will not '
                'repeat the unbroken one exactly (views made sample by sample draw the numbers of the first iterations '
                "again); views='device', which draws by the number of the batch, does."
            )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['meta'][PROCESSES] = runner.world_size

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        before = checkpoint.get('meta', {}).get(PROCESSES, runner.world_size)
        if runner._resume and before != runner.world_size:
            runner.logger.warning(
                f'EpochSeedHook: the checkpoint is of {before} process(es) and this run has {runner.world_size}, so it '
                'will not repeat the unbroken one exactly: views and batch norm without sync_bn go by process.'
            )

    def before_train_epoch(self, runner) -> None:
        seed_process(runner.seed, runner.epoch, runner.rank)


def seed_process(seed: int, epoch: int, rank: int) -> None:
    """Seed python, numpy and torch (all devices) of this process from (seed, epoch, rank)."""
    key = int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])
    random.seed(key)
    np.random.seed(key)
    torch.manual_seed(key)


def seed_worker(worker_id: int) -> None:
    """Seed a loader worker's python and numpy from its torch seed, which torch draws from the main process's state."""
    key = torch.initial_seed() % 2**32
    random.seed(key)
    np.random.seed(key)
