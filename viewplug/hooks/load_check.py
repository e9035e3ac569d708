"""What a run did not get from the checkpoint that it starts from."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch.nn.parallel import DistributedDataParallel

from viewplug.hooks.carry_over import CarryOverHook
from viewplug.hooks.checkpoint_shapes import LoadWitness, tensors_of_another_shape
from viewplug.unwrapping import unwrapped


class LoadCheckHook(Hook):
    """End a run of whose checkpoint (resumed or ``load_from``) nothing was loaded, where mmengine only warns.

    Tensors that keep their initial values because the checkpoint has them in another shape are named in a warning. Of
    weights in shards nobody asks. On ``load_from`` with ``viewplug.CarryOverHook`` that hook reports in its place.
    ``tools/train.py`` adds this hook to configs without :class:`viewplug.ResumeCheckHook`, which does the same.

    Raises:
        ValueError: before the first step, a checkpoint of which nothing was loaded.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._witness: LoadWitness | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume and any(isinstance(hook, CarryOverHook) for hook in runner.hooks):
            return
        model, state = unwrapped(runner.model), checkpoint.get('state_dict', checkpoint)
        tensors = tensors_of_another_shape(model, state)
        if tensors:
            runner.logger.warning(f'{type(self).__name__}: {tensors}')
        if not is_model_wrapper(runner.model) or isinstance(runner.model, DistributedDataParallel):
            self._witness = LoadWitness(model, state)

    def before_train(self, runner) -> None:
        witness, self._witness = self._witness, None
        if witness is not None:
            path = runner._load_from or runner._resume  # FlexibleRunner takes resume=PATH too
            witness.check(f'{"resume" if runner._resume else "load_from"}={path}' if path else 'load_checkpoint')
