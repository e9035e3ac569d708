"""What a resumed run no longer shares with its checkpoint: the schedules, the length of an epoch."""

from __future__ import annotations

import warnings

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop, EpochBasedTrainLoop

from viewplug.epoch_loop import EpochLoop
from viewplug.hooks.load_check import LoadCheckHook
from viewplug.hooks.optimizer_settings import check_same_kind, follow_config
from viewplug.hooks.schedule_differences import schedule_differences
from viewplug.registry import HOOKS
from viewplug.targets import MomentumTarget
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class ResumeCheckHook(LoadCheckHook):
    """Let the config win over the checkpoint where a run is resumed with other settings, and say so in the log.

    mmengine takes every setting of its parameter schedulers from the checkpoint, so a run that is resumed with more
    epochs or another batch size goes on along the old schedule. Here they are compared with the config's, starting
    values included. Where they differ, a warning says in what, and learning rate, weight decay or whatever else is
    scheduled goes on from where an unbroken run of the new config has it: the config's schedulers start anew and take
    the steps so far again. What no scheduler moves (SGD's momentum, a constant weight decay or learning rate) is set to
    the config's likewise. Where nothing differs nothing is touched. A run with ReduceOnPlateau, which follows
    validation, keeps the checkpoint's, and a warning says so.

    Epoch-based runs go on at the beginning of an epoch, or where ``viewplug.EpochLoop`` takes up one that
    ``viewplug.PreemptionHook`` left. With another batch size, or from another checkpoint saved within an epoch, the
    iterations counted so far are not those of the epochs done, so the count would miss ``max_iters`` and
    the ETA be wrong. It is set to epochs times batches of an epoch, which log, schedules and gradient accumulation go
    by; ``target.steps`` is scaled alike, so that the target's momentum is that of an unbroken run.

    A last warning names tensors that keep their initial values because a checkpoint (resumed or ``load_from``) has
    them in another shape; where no parameter at all was loaded, the run ends (:class:`~.load_check.LoadCheckHook`).

    Raises:
        ValueError: before the first step, a checkpoint of which nothing was loaded.
    """

    priority = 'VERY_HIGH'  # before the hooks that note the iteration at which training begins

    def __init__(self) -> None:
        super().__init__()
        self._resumed = False
        self._saved: list[dict] | None = None
        self._fresh: list[dict] = []
        self._groups: list[dict] = []

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """What ``checkpoint`` says, and the run as its config makes it: nothing has been loaded into it yet."""
        if runner._resume:
            self._resumed = not isinstance(runner.optim_wrapper, dict)  # an evaluation before the training resumes too
            if isinstance(runner.optim_wrapper, OptimWrapper):
                self._fresh = [dict(vars(scheduler)) for scheduler in _flat(runner.param_schedulers)]
                self._groups = [dict(group) for group in _param_groups(runner)]
            complete = 'optimizer' in checkpoint and 'param_schedulers' in checkpoint
            self._saved = _flat(checkpoint['param_schedulers']) if complete else None
            if complete and self._groups:
                for saved, groups in _by_optimizer(checkpoint['optimizer'], runner.optim_wrapper):
                    check_same_kind(saved, groups)
        super().after_load_checkpoint(runner, checkpoint)

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if not self._resumed:
            return
        self._resumed, loop = False, runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        unit, key = ('epoch', '--epochs (train_cfg.max_epochs)') if by_epoch else ('iteration', 'train_cfg.max_iters')
        done, total = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
        if done >= total:
            runner.logger.warning(
                f'ResumeCheckHook: nothing is left to train, {unit} {done} of {total} was done already; '
                f'a larger {key} gives more.'
            )
            return
        moved = by_epoch and _count_iterations(runner)
        self._follow_settings(runner)
        schedulers = _flat(runner.param_schedulers)
        kinds = [type(scheduler).__name__ for scheduler in schedulers]
        differences = schedule_differences(kinds, self._fresh, self._saved)
        if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
            if differences and self._saved is not None:
                runner.logger.warning(
                    f'ResumeCheckHook: the schedules are not those of the checkpoint: {"; ".join(differences)}. The '
                    "checkpoint's stay: ReduceOnPlateau follows validations that cannot be taken again."
                )
            return
        if not (moved or differences):
            return
        names = dict.fromkeys(state['param_name'] for state in [*self._fresh, *(self._saved or [])])
        loaded = _values(runner, names)
        runner.logger.info(f'ResumeCheckHook: taking the steps of the schedules again, up to iteration {loop.iter}.')
        self._start_anew(runner, schedulers, tuple(names))
        _step_again(schedulers, loop)
        if differences:
            values = [
                f'{name} {new}' + f' (and not {loaded.get(name)})' * (new != loaded.get(name))
                for name, new in _values(runner, names).items()
            ]
            runner.logger.warning(
                f'ResumeCheckHook: the schedules are not those of the checkpoint: {"; ".join(differences)}. They are '
                f'set to the config: after {unit} {done} the run goes on with {", ".join(values)}.'
            )

    def _follow_settings(self, runner) -> None:
        if not self._groups:
            return
        scheduled = {state['param_name'] for state in [*self._fresh, *(self._saved or [])]}
        settings = follow_config(_param_groups(runner), self._groups, scheduled)
        if settings:
            runner.logger.warning(
                f"ResumeCheckHook: the optimiser's settings are not those of the checkpoint: {'; '.join(settings)}. "
                'They are set to the config.'
            )

    def _start_anew(self, runner, schedulers: list, names: tuple[str, ...]) -> None:
        for scheduler, state in zip(schedulers, self._fresh, strict=True):
            vars(scheduler).clear()
            vars(scheduler).update(state)
        for group, start in zip(_param_groups(runner), self._groups, strict=True):
            # the initial values too: initial_lr, and OneCycleLR's max_lr and min_lr
            group.update({key: value for key, value in start.items() if key.endswith(names)})


def _count_iterations(runner) -> bool:
    """Set the iteration count of an epoch-based run to that of its epochs; whether it was another one."""
    loop, length = runner.train_loop, len(runner.train_loop.dataloader)
    old, new = loop.iter, loop.epoch * length + _batches_done(loop)
    if old == new:
        return False
    loop._iter = new
    runner.optim_wrapper.initialize_count_status(runner.model, new, loop.max_iters)
    target = getattr(unwrapped(runner.model), 'target', None)
    if isinstance(target, MomentumTarget) and old:
        # by way of loading, where it also sets its count on the host
        target.load_state_dict({'steps': target.steps * new // old}, strict=False)
    runner.logger.warning(
        f'ResumeCheckHook: up to epoch {loop.epoch} the checkpoint counts {old} iterations, and this run {new} '
        f'({length} batches an epoch): the batch size, the number of images or of processes differs, or it was saved '
        'within an epoch. '
        f'The run goes on at the beginning of epoch {loop.epoch + 1}, with iteration {new + 1} of {loop.max_iters}.'
    )
    return True


def _batches_done(loop: BaseLoop) -> int:
    return loop.batches_done if isinstance(loop, EpochLoop) else 0


def _step_again(schedulers: list, loop: BaseLoop) -> None:
    """The steps of ParamSchedulerHook up to where ``loop`` is."""
    each_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    each_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]

    def step(stepping: list, times: int) -> None:
        for _ in range(times):
            for scheduler in stepping:
                scheduler.step()

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the optimiser should have stepped before
        if not isinstance(loop, EpochBasedTrainLoop):
            step(each_iteration, loop.iter)
            return
        for _ in range(loop.epoch):
            step(each_iteration, len(loop.dataloader))
            step(each_epoch, 1)
        step(each_iteration, _batches_done(loop))


def _flat(schedulers) -> list:
    """All schedulers, of several optimisers too."""
    if isinstance(schedulers, dict):
        return [one for several in schedulers.values() for one in several]
    return list(schedulers or [])


def _param_groups(runner) -> list[dict]:
    wrapper = runner.optim_wrapper
    wrappers = wrapper.optim_wrappers.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [group for one in wrappers for group in one.param_groups]


def _by_optimizer(saved: dict, wrapper: OptimWrapper) -> list[tuple[list[dict], list[dict]]]:
    """Parameter groups of each optimiser, a checkpoint's and the run's."""
    if not isinstance(wrapper, OptimWrapperDict):
        return [(saved['param_groups'], wrapper.optimizer.param_groups)]
    both = saved.keys() & wrapper.optim_wrappers.keys()  # others have an error of mmengine's
    return [(saved[name]['param_groups'], wrapper[name].optimizer.param_groups) for name in both]


def _values(runner, names) -> dict[str, str]:
    """The largest value of each scheduled parameter, of groups that follow the schedule."""
    groups = [group for group in _param_groups(runner) if not group.get('fix_lr')]
    values = {name: [group[name] for group in groups if name in group] for name in names}
    return {name: f'{max(several):.4g}' for name, several in values.items() if several}
