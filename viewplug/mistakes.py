"""An exception before the first step, as a sentence that names the config key at fault."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine import Config

HERE = str(Path(__file__).parent)
SENTENCES = (ValueError, KeyError, FileNotFoundError, RuntimeError)
"""What viewplug itself raises with a sentence for the user (CorruptImagesError is a RuntimeError)."""
TRACEBACK = '(--traceback shows where)'
# What libraries say, and what a user can do about it.
HINTS = {
    'Expected more than 1 value per channel': 'batch norm needs two images or more in a batch, '
    'train_dataloader.batch_size is {batch_size}',
    'need at least one array to concatenate': "the data set is empty: do its ann_file's categories have the names of "
    'dataset.metainfo.classes, and does its filter_cfg leave an image?',
    'None is not a callable object': 'optim_wrapper.optimizer.type={optimizer} is the name of no optimiser; '
    'torch.optim has SGD, AdamW and others',
    'parameter group that doesn': 'the checkpoint is of another model than this config builds: to start from its '
    'weights alone use --init (or load_from), to go on with its run use its own config',
}
UNEXPECTED = re.compile(r"(?:(\w+)\.)?(?:__init__|\w+)\(\) got an unexpected keyword argument '(\w+)'")


def sentence(error: Exception, cfg: Config) -> str:
    """What to tell the user.

    Args:
        error: raised while ``cfg`` was built, or in its first step.
    """
    text, frames = _text(error), _frames(error)
    if isinstance(error, SENTENCES) and frames and str(frames[-1].f_code.co_filename).startswith(HERE):
        return text
    hint = next((advice for said, advice in HINTS.items() if said in text), None)
    if hint:
        loader, optimizer = cfg.get('train_dataloader') or {}, (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
        advice = hint.format(batch_size=loader.get('batch_size'), optimizer=optimizer.get('type'))
        return f'{text}: {advice} {TRACEBACK}'
    built = [frame.f_locals for frame in frames if frame.f_code.co_name == 'build_from_cfg']
    unexpected = UNEXPECTED.search(text)
    if unexpected:
        cls = built[-1].get('obj_cls') if built else None
        return f'{_unexpected(unexpected, cls, cfg)} {TRACEBACK}'
    if 'is not in the' in text and 'registry' in text:
        return text  # mmengine's and the nearest names
    if not isinstance(error, (ValueError, KeyError, OSError)):
        text = f'{type(error).__name__}: {text}'
    places = [place for place in (_place(frame.get('cfg'), cfg) for frame in built) if place] or _parts(frames)
    return f'{places[-1]}: {text} {TRACEBACK}' if places else f'{text} {TRACEBACK}'


def near(name: str, names) -> str:
    """', did you mean X or Y?', or nothing."""
    found = difflib.get_close_matches(name, [str(one) for one in names], n=2, cutoff=0.7)
    return f', did you mean {" or ".join(found)}?' if found else ''


def places_of(value: Any, tree: Any, at: str = '') -> Iterator[str]:
    """Dotted paths in ``tree`` of everything that equals ``value``, outermost first."""
    if at and type(tree) is type(value) and tree == value:
        yield at
        return
    for key, child in _children(tree):
        yield from places_of(value, child, f'{at}.{key}' if at else str(key))


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f'{error.strerror}: {error.filename}' if error.filename else error.strerror
    first = error.args[0] if error.args else ''
    text = (first if isinstance(first, str) else str(error)).strip() or 'an assertion failed'
    if 'Original Traceback' in text:  # of a loader's worker
        text = text.splitlines()[-1].split(': ', 1)[-1]
    return text


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


def _unexpected(found: re.Match, cls: type | None, cfg: Config) -> str:
    owner, name = found.groups()
    if owner == 'DataLoader':  # which no registry builds
        from torch.utils.data import DataLoader as cls
    names = _arguments(cls) if cls is not None else []
    place = next(_keys(name, cfg), name)
    return f'{place}: {owner or getattr(cls, "__name__", "it")} has no argument {name}{near(name, names)}'


def _arguments(cls: type) -> list[str]:
    """Of the class and of those that it hands further arguments on to."""
    classes = inspect.getmro(cls) if inspect.isclass(cls) else [cls]
    names = []
    for one in classes:
        code = getattr(one.__dict__.get('__init__'), '__code__', None) if inspect.isclass(one) else one.__code__
        names += [] if code is None else code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    return list(dict.fromkeys(names))


def _keys(name: str, tree: Any, at: str = '') -> Iterator[str]:
    """Where a key of that name is."""
    for key, child in _children(tree):
        here = f'{at}.{key}' if at else str(key)
        if key == name:
            yield here
        yield from _keys(name, child, here)


def _place(built: Any, tree: Any, at: str = '') -> str | None:
    """Where the config has what was built; its builder may have added keys."""
    if not isinstance(built, dict) or 'type' not in built:
        return None
    for key, child in _children(tree):
        here = f'{at}.{key}' if at else str(key)
        if isinstance(child, dict) and 'type' in child and all(built.get(k) == v for k, v in child.items()):
            return here
        found = _place(built, child, here)
        if found:
            return found
    return None


def _children(tree: Any) -> list[tuple[Any, Any]]:
    if isinstance(tree, (dict, Config)):
        return list(tree.items())
    return list(enumerate(tree)) if isinstance(tree, (list, tuple)) else []
