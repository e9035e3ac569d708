"""Whether a model holds a checkpoint's weights and will use them as they were trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from viewplug.config.model_config import is_pretrained
from viewplug.transfer.checkpoint import SAFETENSORS, is_raw_pickle, read_checkpoint, weights_of
from viewplug.transfer.faults import incomplete, not_loaded, within
from viewplug.transfer.init_from_ssl import submodule
from viewplug.transfer.matching import Match, describe, match
from viewplug.transfer.recorded import recorded_config
from viewplug.transfer.settings import compare_settings

HEADINGS = ('module', 'in the file', 'loaded', 'not loaded', 'missing', 'shape', 'unexpected')


@dataclass
class Origin:
    """Where a module should have come from.

    Attributes:
        module: its dotted name in the model.
        checkpoint: the file.
        source: prefix in the file, or 'auto'.
        momentum: the momentum copy.
        by_hook: ``viewplug.InitFromSSL`` writes it, which translates names; ``init_cfg`` does not.
        by_load_from: it is in the run's ``load_from``, whose names are taken as they are.
    """

    module: str
    checkpoint: str
    source: str = 'auto'
    momentum: bool = False
    by_hook: bool = False
    by_load_from: bool = False


@dataclass
class Report:
    """The check of one module: a row of the table, and what to say about it."""

    module: str
    row: tuple
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def origins_in(model: nn.Module) -> list[Origin]:
    """The modules of ``model`` whose ``init_cfg`` is ``Pretrained``."""
    found = []
    for name, module in model.named_modules():
        configs = getattr(module, 'init_cfg', None)
        for cfg in configs if isinstance(configs, list) else [configs]:
            if is_pretrained(cfg) and name:
                prefix = cfg.get('prefix')
                source = f'{prefix.rstrip(".")}.' if prefix else ''
                found.append(Origin(name, cfg['checkpoint'], source))
    return found


def check_prefixes(model: nn.Module) -> None:
    """Look before mmengine initialises ``model``: of a prefix that is not in the file it says no more than that.

    Raises:
        ValueError: the ``init_cfg.prefix`` of a module is not in its file, or the file cannot be read, by us or by
            mmengine.
    """
    for origin in origins_in(model):
        if origin.checkpoint.endswith(SAFETENSORS) or is_raw_pickle(origin.checkpoint):
            raise ValueError(
                f"model.{origin.module}.init_cfg.checkpoint={origin.checkpoint}: mmengine's Pretrained reads files of "
                'torch alone; let viewplug.InitFromSSL read this one (tools/train.py CONFIG --init CKPT)'
            )
        weights = weights_of(read_checkpoint(origin.checkpoint))
        if not any(name.startswith(origin.source) for name in weights):
            raise ValueError(
                f'model.{origin.module}.init_cfg.prefix={origin.source!r} is not in {origin.checkpoint}. '
                f'{describe(weights)} Set the prefix to one of these'
            )


def check_model(
    model: nn.Module,
    origins: Sequence[Origin],
    required: Sequence[str] = ('backbone',),
    allow_surplus: bool = False,
    new: Sequence[str] = (),
) -> list[Report]:
    """Compare the values that ``model`` has now with those of the files.

    Args:
        required: names, or beginnings of names, below which every tensor must have its value from a file.
        allow_surplus: whether a file may have more blocks than the model, as when its last ones are dropped on purpose.
        new: names of layers, such as 'norm0' or 'conv_offset', that no file need have, wherever they are.

    Raises:
        ValueError: a file that cannot be read, or no origin for a required module.
    """
    for name in required:
        if not any(within(origin.module, name) or within(name, origin.module) for origin in origins):
            raise ValueError(
                f'{name} is set to come from nowhere, so it would train from scratch. Set '
                f"model.{name}.init_cfg=dict(type='Pretrained', checkpoint=CKPT, prefix='backbone.'), or let "
                'tools/train.py CONFIG --init CKPT do it'
            )
    files = {path: read_checkpoint(path) for path in dict.fromkeys(origin.checkpoint for origin in origins)}
    return [_check(model, origin, files[origin.checkpoint], required, allow_surplus, new) for origin in origins]


def table(reports: Sequence[Report]) -> str:
    """The numbers of tensors, a line a module."""
    rows = [HEADINGS, *(tuple(map(str, report.row)) for report in reports)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for report in reports:
        for label, sentences in (('ERROR', report.errors), ('warning', report.warnings), ('note', report.notes)):
            lines += [f'{label}: {report.module}: {sentence}' for sentence in sentences]
    return '\n'.join(lines)


def _check(model, origin: Origin, checkpoint: dict, required, allow_surplus: bool, new: Sequence[str]) -> Report:
    module = submodule(model, origin.module, 'the check')
    weights = weights_of(checkpoint)
    try:
        found = _match(origin, module, weights)
    except ValueError as error:
        total = len(module.state_dict())
        return Report(
            origin.module, (origin.module, '-', 0, 0, total, 0, 0), [str(error).removeprefix(f'{origin.module}: ')]
        )
    state = module.state_dict()
    equal = {key for key, value in found.weights.items() if torch.equal(state[key].cpu(), value.to(state[key].dtype))}
    stale = [key for key in found.weights if key not in equal]
    report = Report(
        origin.module,
        (
            origin.module,
            found.prefix or "''",
            len(equal),
            len(stale),
            len(found.missing),
            len(found.mismatched),
            len(found.unexpected),
        ),
        notes=list(found.notes),
    )
    absent = [key for key in found.missing if not set(new).intersection(key.split('.'))]
    bad = [key for key in [*stale, *found.mismatched, *absent] if state[key].is_floating_point()]
    nothing = not any(state[key].dim() for key in equal)  # batch norm's step counters are equal at birth
    other_names = found.layout != found.own_layout and not origin.by_hook and bad  # cls_token has one name in all
    if other_names or (nothing and stale and (origin.by_hook or found.prefix != origin.source)):
        report.errors.append(not_loaded(origin, found, weights, len(bad), nothing))
    else:
        report.errors += incomplete(origin, found, state, stale, bad, ('',) if nothing else required)
    if found.surplus and not allow_surplus:
        report.errors.append(
            f'{len(found.surplus)} tensors of the file (such as {found.surplus[0]}) have no place in parts that the '
            "model has: the checkpoint's network is deeper, or has biases or norm layers that this one lacks"
        )
    compare_settings(model, module, found, recorded_config(checkpoint), origin.checkpoint, report)
    return report


def _match(origin: Origin, module: nn.Module, weights: dict) -> Match:
    """As told, or, so that there is something to say, as it should have been told."""
    if origin.by_hook:
        return match(origin.module, module, weights, origin.source, origin.momentum)
    try:
        return match(origin.module, module, weights, origin.source)
    except ValueError:
        return match(origin.module, module, weights, 'auto')
