"""A network's weights out of any self-supervised (or supervised) checkpoint, written when the model has been built."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from torch import nn

from viewplug.registry import HOOKS
from viewplug.transfer.checkpoint import read_checkpoint, weights_of
from viewplug.transfer.matching import Match, match
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class InitFromSSL(Hook):
    """Find a backbone in a checkpoint and write it into the model before the first step; not on resume.

    The file may be a run of viewplug, mmpretrain, MoCo, DINO or timm, torchvision's, detectron2's or safetensors. Names
    are translated (timm's ViT to mmpretrain's and mmseg's, detectron2's ResNet), a position embedding is resized.
    Values are written after mmengine has initialised the model, so no initialiser can lose them, into the model that
    DDP, an EMA hook and AMP already hold. What was written is in the log;
    :class:`viewplug.transfer.TransferCheckHook` refuses what was not. In a pre-training config the target starts equal
    to the online network again.

    Args:
        checkpoint: a file, ``torchvision://resnet50``, or an http(s) address.
        modules: which parts of the model to write, by their dotted names: 'backbone', a list such as
            ``['backbone', 'roi_head.shared_head']``, or a dict with the source of each, ``dict(backbone='auto',
            neck='branches.region.neck.fpn.')``.
        source: prefix of the names in the file, for all of ``modules``; 'auto' looks for them.
        momentum: take the momentum copy (MoCo's key encoder, DINO's teacher) in place of the online one.

    Raises:
        ValueError: the file cannot be read, has nothing for a module, or the model has no such module.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        checkpoint: str,
        modules: str | Sequence[str] | dict[str, str] = 'backbone',
        source: str = 'auto',
        momentum: bool = False,
    ) -> None:
        if isinstance(modules, str):
            modules = [modules]
        self.checkpoint = checkpoint
        self.modules = dict(modules) if isinstance(modules, dict) else dict.fromkeys(modules, source)
        self.momentum = momentum

    def before_train(self, runner) -> None:
        if resumed(runner):
            return
        if runner._load_from:
            runner.logger.warning(
                f'InitFromSSL writes {self.checkpoint} over {", ".join(self.modules)}, which load_from='
                f'{runner._load_from} has just loaded; set one of them'
            )
        for found in self.write(unwrapped(runner.model)):
            log = runner.logger.warning if found.missing or found.mismatched else runner.logger.info
            log(f'InitFromSSL: {_sentence(found, self.checkpoint)}')

    @torch.no_grad()
    def write(self, model: nn.Module) -> list[Match]:
        """Write into ``model``, which is initialised already, and say what went where."""
        if not self.checkpoint:
            raise ValueError('InitFromSSL: checkpoint is empty; name a file, e.g. tools/train.py CONFIG --init CKPT')
        weights = weights_of(read_checkpoint(self.checkpoint))
        found = []
        for name, source in self.modules.items():
            module = submodule(model, name, 'InitFromSSL')
            found.append(_matched(name, module, weights, source, self.momentum, self.checkpoint))
            state = module.state_dict()
            for key, value in found[-1].weights.items():
                state[key].copy_(value)
        reset = getattr(getattr(model, 'target', None), 'reset', None)  # of viewplug.Siamese
        if reset:
            reset(model)
        return found


def submodule(model: nn.Module, name: str, who: str) -> nn.Module:
    """``model.<name>``, or a sentence on what there is."""
    try:
        found = model.get_submodule(name)
    except AttributeError:
        parts = ', '.join(part for part, _ in model.named_children())
        raise ValueError(f'{who}: {type(model).__name__} has no module {name!r}; it has {parts}') from None
    if found is None:
        raise ValueError(f'{who}: {name} of this {type(model).__name__} is None')
    return found


def resumed(runner) -> bool:
    """Whether this run goes on from a checkpoint of its own (auto-resume may have found none)."""
    return bool(runner._resume and runner._has_loaded)


def _matched(name, module, weights, source, momentum, path) -> Match:
    try:
        found = match(name, module, weights, source, momentum)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    if found.mismatched and not any(value.dim() for value in found.weights.values()):  # but step counters
        key, (theirs, ours) = next(iter(found.mismatched.items()))
        raise ValueError(
            f'{path}: no weight under {found.prefix!r} has the shape that it has in {name}, such as {key} ({theirs} in '
            f'the file, {ours} here): another width or kind of network?'
        )
    return found


def _sentence(found: Match, path: str) -> str:
    parts = [f'{len(found.weights)} tensors of {found.module} from {path}, under {found.prefix!r}']
    parts += found.notes
    for label, names in (('missing', found.missing), ('of another shape', list(found.mismatched))):
        if names:
            parts.append(f'{len(names)} {label} (such as {names[0]})')
    return '; '.join(parts)
