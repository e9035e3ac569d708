"""``--cfg-options`` that say so where they would change nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mmengine import Config
from mmengine.logging import print_log
from mmengine.utils import import_modules_from_strings

from viewplug.config.mistakes import OF_RUNNER, places_of
from viewplug.nearest import near

OF_MMENGINE = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'detect_anomalous_params',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
}
OF_VIEWPLUG = {'in_memory', 'knn_hook', 'speed', 'stage1_config', 'stage1_epochs', 'stage2_epochs', 'views'}
READ = OF_RUNNER | OF_MMENGINE | OF_VIEWPLUG
"""Keys of a config that a run reads; all others are variables of its file."""


def merge_options(cfg: Config, options: dict) -> None:
    """``cfg.merge_from_dict(options)``, after a look at each key.

    Raises:
        ValueError: a key that nothing reads, that is misspelt on the way to its last part, or whose list is shorter.
    """
    for key in options:
        _check(cfg, key, options)
    if 'train_cfg.max_epochs' in options and not any(str(key).startswith('param_scheduler') for key in options):
        message = '--cfg-options train_cfg.max_epochs leaves schedules as long as they were; --epochs scales them too'
        print_log(message, 'current', logging.WARNING)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError) as error:
        raise ValueError(f'--cfg-options {" ".join(map(str, options))}: {_first_line(error)}') from error
    if any(key.split('.')[0] == 'custom_imports' for key in options):  # the file's own were imported as it was read
        try:
            import_modules_from_strings(**cfg.custom_imports)
        except (ImportError, TypeError) as error:
            raise ValueError(f'custom_imports={cfg.custom_imports}: {error}') from error


def of_stage(options: dict, stage: int | None) -> dict:
    """The options of one stage: ``stage1.KEY`` and ``stage2.KEY`` without their prefix where they belong.

    Args:
        stage: 1, 2, or None for a run that has no stages.

    Raises:
        ValueError: such a key in a run without stages.
    """
    found = {}
    for key, value in options.items():
        prefix, _, rest = key.partition('.')
        if prefix not in ('stage1', 'stage2') or not rest:
            found.setdefault(key, value)
        elif stage is None:
            raise ValueError(f'--cfg-options {key} is for a run with --stages')
        elif prefix == f'stage{stage}':
            found[rest] = value
    return found


def _check(cfg: Config, key: str, options: dict) -> None:
    parts = str(key).split('.')
    top = parts[0]
    if top not in READ and top not in cfg and 'runner_type' not in {*cfg.keys(), *options}:
        raise ValueError(
            f'--cfg-options {key}: the config has no {top} and nothing would read it{near(top, READ | set(cfg.keys()))}'
        )
    if top not in READ and top in cfg:
        _warn_of_variable(cfg, top, parts[1:])
    value, at = cfg.get(top), top
    for part in parts[1:-1]:
        if isinstance(value, (list, tuple)):
            if not part.isdigit() or int(part) >= len(value):
                raise ValueError(f'--cfg-options {key}: {at} has the entries 0 to {len(value) - 1}, got {part}')
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, dict):
            _check_new_part(key, at, part, value, options)
            return
        else:
            return
        at = f'{at}.{part}'
    _check_list(key, value, parts[-1] if len(parts) > 1 else None, options[key])


def _check_list(key: str, parent: Any, part: str | None, given: Any) -> None:
    """mmengine merges a dict into a list where its keys are places in it."""
    old = parent if part is None else parent.get(part) if isinstance(parent, dict) else None
    if isinstance(old, (list, tuple)) and isinstance(given, dict) and not all(str(one).isdigit() for one in given):
        raise ValueError(f'--cfg-options {key}={given}: the config has a list there; give a list, or {key}.0={given}')


def _check_new_part(key: str, at: str, part: str, siblings: dict, options: dict) -> None:
    """A part that the config has not got yet comes with its type; one that has none and is named alike is misspelt."""
    has_type = any(str(one).startswith(f'{at}.{part}.') and str(one).endswith('type') for one in options)
    alike = near(part, siblings, cutoff=0.85)
    if alike and not has_type:
        raise ValueError(f'--cfg-options {key}: {at} has no {part}{alike}')


def _warn_of_variable(cfg: Config, top: str, rest: list[str]) -> None:
    """Of a variable that the file used while it was read, and that nobody reads now."""
    print_log(
        f'--cfg-options {".".join([top, *rest])}: {top} is a variable of the config file, which made its parts with it '
        'when it was read; changing it changes nothing in this run. Set the part itself'
        f'{parts_made_with(cfg[top], cfg, rest)}.',
        'current',
        logging.WARNING,
    )


def parts_made_with(value: Any, cfg: Config, rest: Sequence[str] = ()) -> str:
    """', e.g. train_dataloader.dataset', the first part of ``cfg`` that equals a variable, or nothing."""
    read = {key: part for key, part in cfg.items() if key in READ}
    places = list(places_of(value, read)) if isinstance(value, (dict, list)) else []  # numbers are equal by chance
    return f', e.g. {".".join([places[0], *rest])}' if places else ''


def _first_line(error: Exception) -> str:
    return str(error.args[0] if error.args else error).splitlines()[0][:200]
