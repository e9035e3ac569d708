"""Which checkpoint a run goes on from."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine import Config
from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint

from viewplug.config.fixed_keys import checkpoint_hooks
from viewplug.config.training_data import UserError
from viewplug.hooks.within_epoch import PREEMPTED, TIMED
from viewplug.transfer.checkpoint import read_checkpoint


def resume_from(cfg: Config, where: str) -> None:
    """``--resume``: with 'auto' the latest checkpoint of the work dir, else a file, or the latest of a folder.

    mmengine's ``resume`` with another ``load_from`` would resume from the stage before, so it is replaced.
    """
    if where == 'auto':
        latest = latest_checkpoint(cfg.work_dir)
        if not latest:
            print_log(f'--resume: no checkpoint in {cfg.work_dir} yet, starting from the beginning', 'current')
            return
        cfg.resume, cfg.load_from = True, latest
    else:
        if not os.path.exists(where):
            raise UserError(f'--resume {where}: no such checkpoint')
        latest = latest_checkpoint(where) if os.path.isdir(where) else where
        if not latest:
            raise UserError(f'--resume {where}: the folder has no checkpoint')
        cfg.resume, cfg.load_from = True, latest
    check_whole(latest, '--resume ')


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """The last checkpoint that a run wrote into its work dir, if it did.

    mmengine notes an absolute path, in a copied or moved folder that of another one: a file of the same name in
    ``work_dir`` itself comes first. Where the note is gone or empty (a disk was full), the newest checkpoint that is
    whole is taken, with a warning.
    """
    noted = find_latest_checkpoint(str(work_dir)) if os.path.isdir(work_dir) else None
    if not noted:
        newest = next(_whole_ones(Path(work_dir)), None)
        if newest:
            text = f'{work_dir}/last_checkpoint is missing or empty: {newest}, the newest whole checkpoint, is taken'
            print_log(text, 'current', logging.WARNING)
        return newest and str(newest)
    inside = os.path.join(work_dir, os.path.basename(noted))
    return inside if os.path.isfile(inside) else noted


def is_last(checkpoint: str, cfg: Config) -> bool:
    """Whether a run of ``cfg`` has saved a checkpoint at its end: one that is called as its default checkpoint hook, of
    whichever class, or a further ``CheckpointHook`` calls the last. The last iteration is no number of the config's:
    where a hook counts them, mmengine's note in the checkpoint says how many the run of so many epochs has."""
    default = (cfg.get('default_hooks') or {}).get('checkpoint', {})  # without the key mmengine has its own
    hooks = [hook for hook in (default, *(hook for _, hook in checkpoint_hooks(cfg))) if isinstance(hook, Mapping)]
    name, epochs = os.path.basename(checkpoint), cfg.train_cfg.max_epochs
    noted = _noted(checkpoint)
    if noted.get('max_epochs', epochs) != epochs:  # of a run of another length
        return False
    by_epoch = [hook for hook in hooks if hook.get('by_epoch', True)]
    if name in [(hook.get('filename_tmpl') or 'epoch_{}.pth').format(epochs) for hook in by_epoch]:
        return True
    if not noted.keys() >= {'max_epochs', 'max_iters'}:
        return False
    by_iteration = [hook for hook in hooks if not hook.get('by_epoch', True)]
    return name in [(hook.get('filename_tmpl') or 'iter_{}.pth').format(noted['max_iters']) for hook in by_iteration]


def check_whole(path: str, said: str) -> None:
    """Tell a file that was cut short, by a full disk or a kill while it was written, from a whole one.

    Args:
        said: where the path comes from, '--resume ' or 'load_from='.
    """
    there = os.path.isfile(path)
    if there and _is_whole(path):
        return
    whole = next((one for one in _whole_ones(Path(path).parent) if one != Path(path).resolve()), None)
    advice = f'; {whole} is whole' if whole else ''
    what = 'no checkpoint, or one that was cut short while it was written' if there else 'no such checkpoint'
    raise UserError(f'{said}{path}: {what}{advice}')


def _noted(checkpoint: str) -> dict:
    """What mmengine's RuntimeInfoHook noted of the run, {} where that cannot be read."""
    try:
        return dict(read_checkpoint(checkpoint)['message_hub']['runtime_info'])
    except (ValueError, KeyError, TypeError, OSError):
        return {}


def _whole_ones(folder: Path) -> Iterator[Path]:
    """A run's checkpoints in a folder, the newest first."""
    found = [
        one for pattern in ('epoch_*.pth', 'iter_*.pth', PREEMPTED, TIMED) for one in folder.resolve().glob(pattern)
    ]
    return (one for one in sorted(found, key=lambda one: one.stat().st_mtime, reverse=True) if _is_whole(one))


def _is_whole(path: str | Path) -> bool:
    """A zip archive with its directory, which is written last, or a pickle of torch before 1.6."""
    with open(path, 'rb') as file:
        start = file.read(2)
    return zipfile.is_zipfile(path) if start == b'PK' else start[:1] == b'\x80'
