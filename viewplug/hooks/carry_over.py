"""From one training stage to the next: which weights carry over, and under which names."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict

from mmengine.hooks import Hook

from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class CarryOverHook(Hook):
    """Start a stage from another stage's checkpoint (``load_from``), say what carried over, and refuse an empty start.

    Works on the checkpoint between reading and loading: renames, drops what does not fit, lists both in the log. On
    resume it does nothing.

    Args:
        rename: prefix in the checkpoint -> prefix in this model. HCL's second stage (sec. 4.1) takes MoCo v2's MLP as
            its semantic half: ``{'branches.image.neck.': 'branches.image.neck.semantic.', 'target.necks.image.':
            'target.necks.image.semantic.'}``. A key that already fits is left alone, so HCL also starts from HCL.
        fresh: prefixes in this model that start anew even where they fit: the step count of a momentum schedule, and
            for HCL the queue, whose keys are of another length.
        required: prefixes in this model under which every weight must carry over (counters and mask tokens aside).

    Raises:
        ValueError: nothing, or not everything, carries over under a required prefix, the checkpoint's network is deeper
            there, or the model has none of it. A prefix of ``rename`` that begins no name is a warning.
    """

    def __init__(
        self,
        rename: dict[str, str] | None = None,
        fresh: tuple[str, ...] = ('target.steps',),
        required: tuple[str, ...] = ('backbone.',),
    ) -> None:
        self.rename = dict(rename or {})
        self.fresh = tuple(fresh)
        self.required = tuple(required)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume:
            return
        model = unwrapped(runner.model)
        wanted = model.state_dict()
        source = checkpoint.get('state_dict', checkpoint)
        carried, left = OrderedDict(), {}
        for key, value in source.items():
            name = self._name_in(wanted, key.removeprefix('module.'))
            fits = name in wanted and wanted[name].shape == value.shape and not name.startswith(self.fresh)
            (carried if fits else left)[name] = value
        new = [name for name in wanted if name not in carried]
        for old, name in self.rename.items():
            if not any(key.removeprefix('module.').startswith(old) for key in source):
                runner.logger.warning(f'CarryOverHook: rename has {old!r}, with which no name in the file begins')
            elif not any(key.startswith(name) for key in wanted):
                runner.logger.warning(f'CarryOverHook: rename has {name!r}, with which no name of this model begins')
        runner.logger.info(
            f'Starting from {runner._load_from}\n'
            f'  carried over  {_summary(carried)}\n'
            f'  new           {_summary(new)}\n'
            f'  left behind   {_summary(left)}'
        )
        for prefix in self.required:
            # Scalars aside: batch norm's step counters have the same shape in any network. DINO has no mask token.
            needed = [name for name, value in wanted.items() if name.startswith(prefix) and value.dim()]
            needed = [name for name in needed if not name.endswith('mask_token')]
            if not needed:
                raise ValueError(f"CarryOverHook: required={prefix!r} begins no weight's name of this model")
            missing = [name for name in needed if name not in carried]
            if missing:
                number = 'no tensor' if len(missing) == len(needed) else f'only {len(needed) - len(missing)} tensors'
                raise ValueError(
                    f"load_from={runner._load_from}: {number} of {len(needed)} carries over into this model's "
                    f'{prefix}* (missing: {", ".join(missing[:3])}, ...; the file has {_summary(source)}); is it the '
                    'stage before, with the same backbone? viewplug.InitFromSSL in its place translates names of other '
                    'libraries and resizes position embeddings'
                )
            deeper = _deeper([name for name in left if name.startswith(prefix)], needed)
            if deeper:
                raise ValueError(
                    f"load_from={runner._load_from}: {len(deeper)} tensors of the file's {prefix}* (such as "
                    f"{deeper[0]}) have no place in parts that this model has: the file's network is deeper. Give "
                    'this config its depth; CarryOverHook(required=()) starts from a part of it all the same'
                )
        carried._metadata = getattr(source, '_metadata', None)  # modules that migrate by version look there
        checkpoint['state_dict'] = carried

    def _name_in(self, wanted: dict, key: str) -> str:
        if key in wanted:
            return key
        for old, new in self.rename.items():
            if key.startswith(old):
                return new + key.removeprefix(old)
        return key


def _deeper(left: list[str], wanted: list[str]) -> list[str]:
    """Names of ``left`` in further blocks of a sequence that ``wanted`` has, ``layer1.2`` behind ``layer1.1``."""
    known = {name[: dot.start()] for name in wanted for dot in re.finditer(r'\.', name)}

    def first_unknown(name: str) -> str:
        parts = name.split('.')[:-1]
        return next((part for i, part in enumerate(parts, 1) if '.'.join(parts[:i]) not in known), '')

    return [name for name in left if first_unknown(name).isdigit()]


def _summary(names) -> str:
    """``branches.image.neck (4), target.backbone (318), ...``"""
    counts = Counter('.'.join(name.split('.')[: _depth(name)]) for name in names)
    return ', '.join(f'{group} ({number})' for group, number in counts.items()) or 'nothing'


def _depth(name: str) -> int:
    """Parts of a name that tell a module from its neighbours, e.g. 4 in branches.image.neck.semantic."""
    if name.startswith('branches.'):
        return 4 if '.neck.' in name else 3
    return {'target.backbone': 2, 'target.necks': 4}.get('.'.join(name.split('.')[:2]), 1)
