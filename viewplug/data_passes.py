"""Passes over the training data: the Runner's epochs, and what stands for them where a loop counts iterations only."""

from __future__ import annotations

import math

from mmengine.dataset import InfiniteSampler
from mmengine.runner import IterBasedTrainLoop

ITERS_PER_PASS = 'iters_per_pass'
"""Key in the message hub: iterations of one pass, for parts of the model, which know no Runner."""


def iters_per_pass(runner) -> int:
    """Iterations in which all processes together see as many images as the data set has.

    Raises:
        TypeError: a data set without a length.
    """
    loader = runner.train_dataloader
    iterations = len(loader)
    if isinstance(getattr(loader.batch_sampler, 'sampler', None), InfiniteSampler):
        iterations = math.ceil(iterations / runner.world_size)  # its length is the data set's, on every process
    return max(1, iterations)


def passes_done(runner) -> int:
    """Epochs that are done; of IterBasedTrainLoop, whose epoch stays 0, whole passes over the data."""
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return runner.iter // iters_per_pass(runner)
    return runner.epoch


def tell_iters_per_pass(runner) -> None:
    """Write it to the message hub, if the data set has a length.

    A resumed run has its own, with another batch size another one; ``update_info(resumed=False)`` would leave it out of
    checkpoints too, and warn at every resume that it is not there.
    """
    try:
        iterations = iters_per_pass(runner)
    except TypeError:
        return
    runner.message_hub.runtime_info[ITERS_PER_PASS] = iterations
