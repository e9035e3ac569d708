"""The backbone that a run records, built as far as that runs no code and fetches no file of the config's choice."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS as ROOT
from mmengine.registry import DefaultScope
from torch import Tensor, nn

LIBRARIES = ('mmpretrain', 'viewplug', 'mmdet', 'mmseg')
# Registries also hold models that fetch what they are told to.
HOMES = re.compile(r'(torch|mmcv|viewplug\.backbones|mm\w+\.models\.(backbones|layers|utils|selfsup))\.')
FETCHES = re.compile(r'init_cfg|pretrained\w*|checkpoint_path|cache_dir')
# mmengine imports what a type or a norm_layer names where no registry has it; a hub's model is fetched.
CLASSES = ('type', 'norm_layer')
PLAIN = re.compile(r'[\w-]*')
TIMM_NAME = re.compile(r'[\w.-]+')


def recorded_backbone(recorded: dict, weights: dict[str, Tensor], scope: str | None = None) -> nn.Module:
    """The backbone of a config, in evaluation mode, with ``weights``.

    Args:
        recorded: the backbone in the config of a run.
        weights: of the backbone, under its own names; those within a TIMMBackbone may lack ``timm_model.``
        scope: the run's ``default_scope``.

    Raises:
        ValueError: it has parts that no registry knows, or other names or shapes. A backbone refuses its settings
            with errors of its own.
    """
    model = built_backbone(recorded, scope)
    _load(getattr(model, 'timm_model', model), weights)
    return model


def built_backbone(recorded: dict, scope: str | None = None) -> nn.Module:
    """The backbone of a config, in evaluation mode, with weights of its own making.

    Raises:
        ValueError: it has parts that no registry knows. A backbone refuses its settings with errors of its own.
    """
    scope = scope if scope in LIBRARIES else LIBRARIES[0]
    settings = {key: value for key, value in recorded.items() if not FETCHES.fullmatch(key)}
    kind = settings.pop('type', None)
    if not isinstance(kind, str):
        raise ValueError('the file records no backbone')
    backbone = _registered(re.sub(r'\..*\.', '.', kind), scope)  # a pure-Python config names its module as well
    for key, word in _words(settings):
        if key in CLASSES:
            _registered(word, scope)
        elif not (TIMM_NAME if key == 'model_name' else PLAIN).fullmatch(word):
            raise ValueError(f'{key}={word!r} of the recorded backbone may name a file or code')
    with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
        model = backbone(**ConfigDict(settings))
    model.eval()  # not chained: mmpretrain's backbones return None here
    return model


def _registered(kind: str, scope: str) -> type:
    library, _, name = kind.rpartition('.')
    for place in [library] if library else [scope, *LIBRARIES[:2]]:
        if place in LIBRARIES:
            registry = importlib.import_module(f'{place}.registry').MODELS
            registry.import_from_location()
            if name in registry.module_dict:
                return _part(registry.module_dict[name])
    if library in ('', 'mmengine', 'mmcv') and name in ROOT.module_dict:
        return _part(ROOT.module_dict[name])
    raise ValueError(f'{kind} is not registered here')


def _part(found: type) -> type:
    if not HOMES.match(found.__module__):
        raise ValueError(f'{found.__module__}.{found.__name__} is no backbone or layer of {", ".join(LIBRARIES)}')
    return found


def _words(settings: dict) -> Iterator[tuple[str, str]]:
    """All strings, each with its key."""
    for key, value in settings.items():
        items = value if isinstance(value, list | tuple) else [value]
        for item in items:
            if isinstance(item, str):
                yield key, item
            elif isinstance(item, list | tuple | dict):
                yield from _words(item if isinstance(item, dict) else {key: item})


def _load(model: nn.Module, weights: dict[str, Tensor]) -> None:
    # A copy, for some models change the dict that they load from.
    result = model.load_state_dict({k.removeprefix('timm_model.'): v for k, v in weights.items()}, strict=False)
    missing = [key for key in result.missing_keys if not key.endswith('num_batches_tracked')]
    if missing or result.unexpected_keys:
        raise ValueError(f'{[*missing, *result.unexpected_keys][0]} is not in both the file and the recorded backbone')
