"""What a run did not get from the checkpoints that it starts from."""

from __future__ import annotations

import os

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from viewplug.hooks.carry_over import CarryOverHook
from viewplug.hooks.checkpoint_shapes import LoadWitness, tensors_of_another_shape
from viewplug.transfer.check import Origin, origins_in
from viewplug.transfer.checkpoint import read_checkpoint, weights_of
from viewplug.transfer.matching import describe
from viewplug.unwrapping import unwrapped


class LoadCheckHook(Hook):
    """End a run of whose checkpoint (resumed, ``load_from`` or ``init_cfg``) nothing was loaded: mmengine only warns.

    Tensors that keep their initial values because the checkpoint has them in another shape are named in a warning. Of
    weights in shards nobody asks. On ``load_from`` with ``viewplug.CarryOverHook`` that hook reports in its place.
    ``tools/train.py`` adds this hook to configs without :class:`viewplug.ResumeCheckHook`, which does the same. That
    all has arrived, and with the right values, is what ``viewplug.TransferCheckHook`` asks.

    Raises:
        ValueError: before the first step, a checkpoint of which nothing was loaded.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._witness: LoadWitness | None = None
        self._initialised: list[tuple[Origin, nn.Module, LoadWitness]] = []

    def before_run(self, runner) -> None:
        """Which modules ``init_cfg`` will fill. A Runner has not initialised its model yet, other runners may have."""
        if runner._train_loop is None or runner._resume or _in_shards(runner.model):
            return
        model = unwrapped(runner.model)
        if not getattr(model, 'is_init', True):
            found = [(origin, model.get_submodule(origin.module)) for origin in origins_in(model)]
            # Copies inside of mmengine's averaged models are never initialised (is_init), but filled at the first step.
            self._initialised = [(*one, LoadWitness(one[1])) for one in found if hasattr(one[1], 'is_init')]

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume and any(isinstance(hook, CarryOverHook) for hook in runner.hooks):
            return
        model, state = unwrapped(runner.model), checkpoint.get('state_dict', checkpoint)
        tensors = tensors_of_another_shape(model, state)
        if tensors:
            runner.logger.warning(f'{type(self).__name__}: {tensors}')
        if not _in_shards(runner.model):
            self._witness = LoadWitness(model, state)

    def before_train(self, runner) -> None:
        witness, self._witness = self._witness, None
        if witness is not None:
            path = runner._load_from or runner._resume  # FlexibleRunner takes resume=PATH too
            witness.check(f'{"resume" if runner._resume else "load_from"}={path}' if path else 'load_checkpoint')
        initialised, self._initialised = self._initialised, []
        for origin, module, witness in initialised:
            if module.is_init and (witness.untouched or not (runner._load_from or _has_names(origin, module))):
                there = describe(weights_of(read_checkpoint(origin.checkpoint)))
                raise ValueError(
                    f'model.{origin.module}.init_cfg: nothing was loaded from checkpoint={origin.checkpoint} with '
                    f'prefix={origin.source or None!r}. {there} Set the prefix to one of these, or let '
                    'tools/train.py CONFIG --init CKPT load the file'
                )


def _has_names(origin: Origin, module: nn.Module) -> bool:
    """Whether one of the file's names is the module's: ViTs initialise their layers before they load."""
    if not os.path.isfile(origin.checkpoint):
        return True  # nobody knows without a download
    try:
        names = [name.removeprefix('module.') for name in weights_of(read_checkpoint(origin.checkpoint))]
    except ValueError:  # of more than tensors, which mmengine has read and we do not
        return True
    wanted = module.state_dict()
    return any(name.startswith(origin.source) and name[len(origin.source) :] in wanted for name in names)


def _in_shards(model) -> bool:
    return is_model_wrapper(model) and not isinstance(model, DistributedDataParallel)
