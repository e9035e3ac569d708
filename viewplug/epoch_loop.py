"""Epochs that a resumed run enters where it left them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import BatchSampler, DataLoader

from viewplug.random_states import set_random_state
from viewplug.registry import LOOPS


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """mmengine's EpochBasedTrainLoop, which can go on in the middle of an epoch.

    From a checkpoint that ``viewplug.PreemptionHook`` saved within an epoch, mmengine's loop would train that epoch
    from its beginning again. This one takes the batches that are left, in the order that they had; those before are
    passed over without being loaded.

    Attributes:
        batches_done: batches of the present epoch that an earlier run has taken, 0 but where one is resumed.
        goes_on: whether an epoch is being taken up, while hooks hear of its beginning a second time.
        random_state: what this process's generators go on from there (:mod:`viewplug.random_states`), or None.
    """

    batches_done: int = 0
    goes_on: bool = False
    random_state: dict | None = None

    def run_epoch(self) -> None:
        done, self.batches_done = self.batches_done, 0
        if not done:
            super().run_epoch()
            return
        self.goes_on = True
        self.runner.call_hook('before_train_epoch')
        self.goes_on = False
        self.runner.model.train()
        with _from_batch(done, self.dataloader):
            batches = iter(self.dataloader)
            if self.random_state is not None:
                set_random_state(self.random_state)
            for place, batch in enumerate(batches, start=done):
                self.run_iter(place, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


def can_skip(loader: DataLoader) -> bool:
    """Whether batches are so many entries of a sampler each, and these follow from seed and epoch (mmengine's and our
    samplers), so that the first ones can be passed over and the rest is what it was."""
    sampler = loader.sampler
    return type(loader.batch_sampler) is BatchSampler and hasattr(sampler, 'seed') and hasattr(sampler, 'set_epoch')


@contextmanager
def _from_batch(number: int, loader: DataLoader) -> Iterator[None]:
    """Let the loader begin with batch ``number`` (from 0) of its epoch. It is as long as ever to whoever asks."""
    batches = loader.batch_sampler
    whole = batches.sampler
    batches.sampler = _Rest(whole, number * batches.batch_size)
    try:
        yield
    finally:
        batches.sampler = whole


class _Rest:
    def __init__(self, sampler, start: int) -> None:
        self.sampler, self.start = sampler, start

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self.sampler, self.start, None)

    def __len__(self) -> int:
        return len(self.sampler)
