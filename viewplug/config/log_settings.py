"""Settings of mmengine's log that fail when it is first written, after an epoch maybe, or with a bare name."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping

from mmengine import Config
from mmengine.logging import HistoryBuffer

from viewplug.config.fixed_keys import refuse_others
from viewplug.nearest import near
from viewplug.registry import class_name

LEVELS = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')
OWN_KEYS = ('data_src', 'log_name', 'method_name')
"""Of an entry of ``log_processor.custom_cfg``; the others are arguments of its statistics."""


def check_log_settings(cfg: Config) -> None:
    """
    Raises:
        ValueError: a ``log_level`` that is none; an entry of LogProcessor's ``custom_cfg`` without what it takes, with
            a key that nothing takes, or with statistics or a window that do not exist.
    """
    level = cfg.get('log_level', 'INFO')
    known = isinstance(level, int) or (isinstance(level, str) and isinstance(logging.getLevelName(level), int))
    if not known:
        names = ', '.join(LEVELS)
        raise ValueError(f'log_level={level!r}: give a number, or one of {names}{near(str(level).upper(), LEVELS)}')
    processor = cfg.get('log_processor')
    if not isinstance(processor, Mapping) or class_name(processor.get('type') or 'LogProcessor') != 'LogProcessor':
        return
    if not _is_count(processor.get('window_size', 10)):
        raise ValueError(f'log_processor.window_size={processor["window_size"]!r}: give a number of values, from 1 on')
    entries = processor.get('custom_cfg') or []
    if not isinstance(entries, list | tuple):
        raise ValueError(f'log_processor.custom_cfg is a list of dicts, got {entries!r}')
    for number, entry in enumerate(entries):
        _check_entry(f'log_processor.custom_cfg.{number}', entry)


def _check_entry(place: str, entry: object) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f'{place}={entry!r}: give a dict')
    methods = HistoryBuffer()._statistics_methods  # those that somebody has registered among them
    method, arguments = entry.get('method_name'), ['window_size']
    if 'method_name' in entry:
        if method not in list(methods):
            names = f'{", ".join(methods)}{near(str(method), methods)}'
            raise ValueError(f'{place}.method_name={method!r}: it is one of {names}')
        parameters = inspect.signature(methods[method]).parameters.values()
        open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
        arguments = list(entry) if open_ended else [one.name for one in parameters][1:]
    refuse_others(place, entry, [*OWN_KEYS, *arguments])
    for key in ('data_src', 'method_name'):
        if key not in entry:
            raise ValueError(f'{place}: {dict(entry)} has no {key}')
    window = entry.get('window_size')
    if not (window is None or _is_count(window) or window in ('epoch', 'global')):
        raise ValueError(f"{place}.window_size={window!r}: give a number of values, 'epoch' or 'global'")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
