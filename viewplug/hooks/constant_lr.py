"""A learning rate that no schedule moves, for some of the parameters."""

from __future__ import annotations

from mmengine.hooks import Hook

from viewplug.registry import HOOKS


@HOOKS.register_module()
class ConstantLRHook(Hook):
    """Keep the initial learning rate of parameter groups with ``fix_lr=True`` (SimSiam's predictor, arXiv:2011.10566,
    sec. 4.2), whatever the schedulers do to the others.

    Groups are flagged as for mmpretrain's SimSiamHook, which wants the value a second time and so misses
    ``auto_scale_lr``, a warm-up and overrides of the optimiser's lr; this hook takes it from the optimiser::

        optim_wrapper = dict(..., paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))
        custom_hooks = [dict(type='viewplug.ConstantLRHook')]

    The lr is set before each iteration, after any scheduler's step. It is the ``initial_lr`` that schedulers note in
    the optimiser's groups, which is in checkpoints, so a resumed run keeps it too.

    Raises:
        ValueError: no parameter group is flagged.
    """

    def before_train(self, runner) -> None:
        groups = self._groups(runner)
        if not groups:
            raise ValueError(
                'ConstantLRHook: no parameter has fix_lr=True; flag some, e.g. '
                "optim_wrapper.paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}), or leave the hook out"
            )
        for group in groups:
            group.setdefault('initial_lr', group['lr'])

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        for group in self._groups(runner):
            group['lr'] = group['initial_lr']

    def _groups(self, runner) -> list[dict]:
        return [group for group in runner.optim_wrapper.optimizer.param_groups if group.get('fix_lr')]
