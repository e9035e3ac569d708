"""How the configs of several runs differ, for the report."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from markupsafe import Markup, escape
from mmengine.runner import Runner

from viewplug.config.differences import differing

READ = {*inspect.signature(Runner).parameters, 'views', 'in_memory', 'speed', 'stage1_config', 'auto_scale_lr'}
READ -= {'work_dir', 'resume', 'experiment_name', 'cfg'}
"""Keys of a config that make a run what it is; others are names that it uses on the way."""


def differences(configs: Sequence[dict]) -> list[tuple[Markup, list[str]]]:
    """Keys that a Runner (or this project) reads and whose values are not the same everywhere, and the values."""
    rows = differing([{key: value for key, value in config.items() if key in READ} for config in configs])
    return [(Markup(str(escape(key)).replace('.', '.<wbr>').replace('[', '<wbr>[')), row) for key, row in rows.items()]
