"""A run that would train from scratch by mistake does not begin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmengine.hooks import Hook
from torch import nn

from viewplug.registry import HOOKS
from viewplug.transfer.check import Origin, check_model, check_prefixes, origins_in, table
from viewplug.transfer.checkpoint import read_checkpoint, weights_of
from viewplug.transfer.faults import within
from viewplug.transfer.init_from_ssl import InitFromSSL, resumed
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class TransferCheckHook(Hook):
    """Compare the model with the checkpoint it should have come from, value by value, before the first step.

    It reads which modules should have come from where off the model's own ``init_cfg=dict(type='Pretrained', ...)``,
    the run's ``load_from`` and its ``viewplug.InitFromSSL`` hook. The log has a table; settings under which the right
    weights compute something else (``style='caffe'``) are errors too, another normalisation is a warning. On resume it
    does nothing.

    Args:
        required: modules, or parts of them, all of whose weights and statistics must have come from a checkpoint.
        allow_surplus: whether the checkpoint may have more blocks than the model.
        new: names of layers that the checkpoint need not have, wherever they are: ``['norm0', 'norm1', 'norm2']`` of a
            ConvNeXt whose earlier stages are read, ``'conv_offset'`` of deformable convolutions.

    Raises:
        ValueError: something required did not arrive, or a module that should come from a file got nothing of it.
    """

    priority = 'HIGH'  # after InitFromSSL, before anything that looks at the model

    def __init__(
        self,
        required: str | Sequence[str] = ('backbone',),
        allow_surplus: bool = False,
        new: str | Sequence[str] = (),
    ) -> None:
        self.required = (required,) if isinstance(required, str) else tuple(required)
        self.allow_surplus = allow_surplus
        self.new = (new,) if isinstance(new, str) else tuple(new)

    def before_run(self, runner) -> None:
        if runner._train_loop is not None and not runner._resume:
            check_prefixes(unwrapped(runner.model))

    def before_train(self, runner) -> None:
        if resumed(runner):
            return
        model = unwrapped(runner.model)
        origins = all_origins(model, runner.hooks, runner._load_from, self.required)
        reports = check_model(model, origins, self.required, self.allow_surplus, self.new)
        errors = [f'{report.module}: {error}' for report in reports for error in report.errors]
        log = runner.logger.error if errors else runner.logger.info
        log(f'TransferCheckHook:\n{table(reports)}')
        if errors:
            raise ValueError('TransferCheckHook: ' + ' | '.join(errors))


def all_origins(
    model: nn.Module, hooks: Iterable[Hook], load_from: str | None = None, required: Sequence[str] = ()
) -> list[Origin]:
    """Of ``init_cfg``, of ``load_from``, which is read later, and of :class:`InitFromSSL`, which has the last word."""
    written = [
        Origin(name, hook.checkpoint, source, hook.momentum, by_hook=True)
        for hook in hooks
        if isinstance(hook, InitFromSSL)
        for name, source in hook.modules.items()
    ]
    names = {origin.module for origin in written}
    others = [origin for origin in origins_in(model) if origin.module not in names]
    if load_from:
        weights = weights_of(read_checkpoint(load_from))
        taken = {origin.module for origin in others if any(within(name, origin.module) for name in weights)}
        others = [origin for origin in others if origin.module not in taken]
        covered = [origin.module for origin in (*written, *others)]
        taken |= {name for name in required if not any(within(a, name) or within(name, a) for a in (*covered, *taken))}
        others += [Origin(name, load_from, f'{name}.', by_load_from=True) for name in sorted(taken)]
    return [*written, *others]
