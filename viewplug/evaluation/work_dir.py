"""What a training run left in its work dir."""

from __future__ import annotations

import os
from logging import WARNING
from pathlib import Path

from mmengine import Config
from mmengine.logging import print_log

from viewplug.run.resuming import latest_checkpoint


def pretraining_of(work_dir: str | Path, checkpoint: str | None = None) -> tuple[Config, str]:
    """The config that a run dumped into its work dir, and its last checkpoint (or ``checkpoint``).

    Raises:
        ValueError: there is no such folder, no config in it, or no checkpoint.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise ValueError(f'no work dir {work_dir.absolute()}')
    configs = sorted(work_dir.glob('*.py'), key=os.path.getmtime)
    if not configs:
        raise ValueError(f'{work_dir.absolute()} holds no config (*.py): is it the work dir of a training run?')
    if len(configs) > 1:
        names = ', '.join(path.name for path in configs[:-1])
        print_log(f'{work_dir}: {configs[-1].name}, the newest config, is taken, not {names}', 'current', WARNING)
    checkpoint = checkpoint or latest_checkpoint(work_dir)
    if checkpoint and not os.path.exists(checkpoint) and (work_dir / checkpoint).exists():
        checkpoint = str(work_dir / checkpoint)
    if not checkpoint or not os.path.exists(checkpoint):
        raise ValueError(f'{work_dir.absolute()} has no checkpoint yet ({checkpoint or "no last_checkpoint"})')
    return Config.fromfile(configs[-1]), os.path.abspath(checkpoint)
