"""An exception before the first step, as a sentence that names the config key at fault."""

from __future__ import annotations

import inspect
import linecache
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine import Config
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, OPTIMIZERS
from mmengine.runner import FlexibleRunner, Runner

from viewplug.nearest import near
from viewplug.unknown_type import instead_of_type, is_unknown_type, unknown_type

HERE = str(Path(__file__).parents[1]) + os.sep
SENTENCES = (ValueError, KeyError, FileNotFoundError, RuntimeError)
"""What viewplug itself raises with a sentence for the user (CorruptImagesError is a RuntimeError)."""
TRACEBACK = '(--traceback shows where)'
OF_RUNNER = {name for kind in (Runner, FlexibleRunner) for name in inspect.signature(kind.__init__).parameters}
OF_RUNNER -= {'self', 'cfg'}
"""Keys of a config that are arguments of mmengine's runners."""
# What libraries say, and what a user can do about it.
HINTS = {
    'Expected more than 1 value per channel': 'batch norm needs two images or more in a batch, '
    'train_dataloader.batch_size is {batch_size}',
    'need at least one array to concatenate': "the data set is empty: do its ann_file's categories have the names of "
    'dataset.metainfo.classes, and does its filter_cfg leave an image?',
    'only available training on gpu': 'optim_wrapper.type={wrapper} is for GPUs; on a CPU set it to '
    "'viewplug.CPUAmpOptimWrapper' (tools/train.py --amp bf16 does), or to 'OptimWrapper' for float32",
    'expect_autograd_hooks_ INTERNAL ASSERT': 'static_graph of DistributedDataParallel does not go with gradients that '
    'accumulate: set model_wrapper_cfg.static_graph=False, or optim_wrapper.accumulative_counts=1',
    'persistent_workers option needs': 'num_workers=0 goes with persistent_workers=False, in train_dataloader and in '
    'any other loader that has none',
    'parameter group that doesn': 'the checkpoint is of another model than this config builds: to start from its '
    'weights alone use --init (or load_from), to go on with its run use its own config',
}
NO_OPTIMIZER = 'optimiser; torch.optim has SGD, AdamW and others'
NO_COLLATE = 'function; mmengine has default_collate and pseudo_collate'
UNEXPECTED = re.compile(r"(?:(\w+)\.)?(?:__init__|\w+)\(\) got an unexpected keyword argument '(\w+)'")


def sentence(error: Exception, cfg: Config) -> str:
    """What to tell the user.

    Args:
        error: raised while ``cfg`` was built, or in its first step.
    """
    text, frames = _text(error), _frames(error)
    built = [frame.f_locals for frame in frames if {'cfg', 'registry'} <= set(frame.f_locals)]  # a proxy from 3.13 on
    if isinstance(error, KeyError) and is_unknown_type(text):
        asked = built[-1] if built else {}
        part, kind = asked.get('cfg'), asked['cfg'].get('type') if built else None
        place = _place(part, cfg)
        return f'{place}.type: ' * bool(place) + unknown_type(text, kind, asked.get('registry'))
    if isinstance(error, SENTENCES) and _raised_here(error):
        return text
    if 'the key "type"' in text or 'the key type' in text or (isinstance(error, KeyError) and text == 'type'):
        typeless = _typeless(cfg, built[-1]['cfg'] if built else None)
        if typeless:
            return f'{typeless} {TRACEBACK}'
        text = text.split('\n')[0]
    loader, wrapper = cfg.get('train_dataloader') or {}, cfg.get('optim_wrapper') or {}
    if 'None is not a callable object' in text or 'first argument must be callable' in text:
        for place, part, registry, said in (
            ('optim_wrapper.optimizer', wrapper.get('optimizer'), OPTIMIZERS, NO_OPTIMIZER),
            ('train_dataloader.collate_fn', loader.get('collate_fn'), FUNCTIONS, NO_COLLATE),
        ):
            kind = part.get('type') if isinstance(part, dict) else None
            if isinstance(kind, str) and registry.get(kind) is None:
                return f'{place}.type: {unknown_type(f"{kind} is the name of no {said}", kind, registry)}'
    hint = next((advice for said, advice in HINTS.items() if said in text), None)
    if hint:
        advice = hint.format(batch_size=loader.get('batch_size'), wrapper=wrapper.get('type'))
        return f'{text}: {advice} {TRACEBACK}'
    unexpected = UNEXPECTED.search(text)
    if unexpected:
        return f'{_unexpected(unexpected, built[-1] if built else {}, cfg)} {TRACEBACK}'
    if not isinstance(error, (ValueError, OSError)):
        text = f'{type(error).__name__}: {text}'
    places = [place for place in (_place(frame.get('cfg'), cfg) for frame in built) if place] or _parts(frames)
    return f'{places[-1]}: {text} {TRACEBACK}' if places else f'{text} {TRACEBACK}'


def places_of(value: Any, tree: Any) -> Iterator[str]:
    """Dotted paths in ``tree`` of everything that equals ``value``, outermost first."""
    return (at for at, node in _nodes(tree) if type(node) is type(value) and _same(node, value))


def _typeless(cfg: Config, built: Any) -> str | None:
    """Of the part that was built, or else of the first that has a key much like type, inside of ``built`` or anywhere:
    a library does not say where it misses a type."""
    parts = [(at, part) for at, part in _nodes(cfg) if isinstance(part, dict) and 'type' not in part]
    parts = [(at, part) for at, part in parts if at.split('.')[0] in OF_RUNNER]
    place = _place(built, cfg)
    like = [(at, part) for at, part in parts if instead_of_type(part)]
    found = [
        *((at, part) for at, part in parts if built and _same(part, built)),
        *((at, part) for at, part in like if place and at.startswith(f'{place}.')),
        *like,
    ]
    return f'{found[0][0]} has no type, by which it is built{instead_of_type(found[0][1])}' if found else None


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename}' if error.filename else error.strerror
    first = error.args[0] if error.args and not isinstance(error, UnicodeError) else ''
    text = (first if isinstance(first, str) and first else str(error)).strip()
    text = text or (_assertion(error) if isinstance(error, AssertionError) else type(error).__name__)
    if 'Original Traceback' in text:  # of a loader's worker
        text = text.splitlines()[-1].split(': ', 1)[-1]
    return text


def _assertion(error: AssertionError) -> str:
    """What was asserted, in a library that says nothing of it."""
    file, line = _origin(error)
    return f'an assertion failed: `{line}` in {os.path.basename(file)}' if line else 'an assertion failed'


def _raised_here(error: Exception) -> bool:
    """Whether a ``raise`` of viewplug's made it, and not a library that viewplug called, torch's C++ among them."""
    file, line = _origin(error)
    return file.startswith(HERE) and 'raise' in line


def _origin(error: Exception) -> tuple[str, str]:
    """The file where it came up, and the line there; empty where it was never raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return '', ''
    file = trace.tb_frame.f_code.co_filename
    return file, linecache.getline(file, trace.tb_lineno).strip()


def _frames(error: Exception) -> list:
    trace, frames = error.__traceback__, []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def _parts(frames: list) -> list[str]:
    """Names of viewplug's own classes at work when the error came, the last one deepest."""
    objects = [frame.f_locals.get('self') for frame in frames if frame.f_code.co_filename.startswith(HERE)]
    return [f'viewplug.{type(one).__name__}' for one in objects if one is not None]


def _unexpected(found: re.Match, built: dict, cfg: Config) -> str:
    owner, name = found.groups()
    cls, part = built.get('obj_cls'), _place(built.get('cfg'), cfg)
    if owner == 'DataLoader':  # which no registry builds
        from torch.utils.data import DataLoader as cls
    names = [*(_arguments(cls) if cls is not None else []), 'type', *['priority'] * _is_hook(cls)]
    place = (
        f'{part}.{name}'
        if part and name in built['cfg']
        else next((at for at, _ in _nodes(cfg) if at.split('.')[-1] == name), name)
    )
    return f'{place}: {owner or getattr(cls, "__name__", "it")} has no argument {name}{near(name, names)}'


def _is_hook(cls: Any) -> bool:
    return inspect.isclass(cls) and issubclass(cls, Hook)


def _arguments(cls: type) -> list[str]:
    """Of the class and of those that it hands further arguments on to."""
    classes = inspect.getmro(cls) if inspect.isclass(cls) else [cls]
    names = []
    for one in classes:
        made_by = one.__dict__.get('__init__') if inspect.isclass(one) else one
        code = getattr(inspect.unwrap(made_by) if callable(made_by) else None, '__code__', None)
        names += [] if code is None else code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    return list(dict.fromkeys(names))


def _place(built: Any, cfg: Config) -> str | None:
    """Where the config has what was built; its builder may have added keys. Variables of the file come last."""
    if not isinstance(built, dict) or 'type' not in built:
        return None
    found = [
        (at, part)
        for at, part in _nodes(cfg)
        if isinstance(part, dict)
        and 'type' in part
        and all(key in built and _same(built[key], value) for key, value in part.items())
    ]
    return max(found, key=lambda one: (one[0].split('.')[0] in OF_RUNNER, len(one[1])), default=(None,))[0]


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # arrays and tensors have no one answer
        return one is other


def _nodes(tree: Any, at: str = '') -> Iterator[tuple[str, Any]]:
    """Everything inside of ``tree``, with its dotted path."""
    if isinstance(tree, (dict, Config)):
        children = tree.items()
    else:
        children = enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    for key, child in children:
        here = f'{at}.{key}' if at else str(key)
        yield here, child
        yield from _nodes(child, here)
