"""From a config file and a command line to a finished run."""

from __future__ import annotations

import errno
import logging
import os
import warnings
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine import Config
from mmengine.dist import barrier
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from viewplug.amp import set_amp
from viewplug.config.built_parts import check_hidden, check_types
from viewplug.config.data_root import set_data_root
from viewplug.config.default_scope import check_default_scope
from viewplug.config.fixed_keys import check_fixed_keys, leave_out_hooks
from viewplug.config.log_settings import check_log_settings
from viewplug.config.mistakes import sentence
from viewplug.config.options import merge_options, of_stage
from viewplug.config.schedule import set_epochs
from viewplug.config.stage_lengths import LENGTHS, set_lengths
from viewplug.config.switches import add_speed_hook, name_classes, place_views, speed_switches, unscope_collate
from viewplug.config.training_data import UserError, check_data
from viewplug.config.unread_names import check_names
from viewplug.datasets import CorruptImagesError
from viewplug.hooks.load_check import LoadCheckHook
from viewplug.hooks.preflight import PreflightHook, check_loader
from viewplug.host_memory import keep_freed_memory
from viewplug.run.cpu_processes import check_launcher, use_gloo
from viewplug.run.demo import to_demo
from viewplug.run.log_levels import heed_no_frozen
from viewplug.run.rehearsal import rehearse
from viewplug.run.resuming import check_whole, is_last, latest_checkpoint, resume_from
from viewplug.run.run_end import note_end
from viewplug.transfer.start_from import start_from

MMENGINE = 'mmengine'
"""The scope of a Runner whose config has no default_scope."""


def train(args: Namespace) -> None:
    """Run what ``tools/train.py`` was asked for.

    Raises:
        UserError: before the first step, with a sentence that names the key or path at fault.
    """
    check_launcher(args.launcher)
    if args.stages and getattr(args, 'init', None):
        raise UserError('--stages starts the second stage from the first, and --init from a file: give one of them')
    cfg = read_config(args.config, args, stage=2 if args.stages else None)
    if args.stages:
        cfg.load_from = _run_first_stage(cfg, args)
    if args.resume:
        resume_from(cfg, args.resume)
    run(cfg, args)
    next_step = f'python tools/train.py {args.config} --data-root /path/to/your/images'
    if args.demo:
        print_log(f'That was the demo. On your own images: {next_step}{" --stages" * args.stages}', 'current')


def read_config(path: str | Path, args: Namespace, stage: int | None = None) -> Config:
    """The config of ``path`` with the command line applied; --cfg-options have the last word.

    Args:
        stage: 1 or 2 of a run with --stages, whose options may be for one of them (``stage1.KEY=VALUE``).
    """
    if not os.path.isfile(path):
        raise UserError(f'no config file {os.path.abspath(path)}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        raise UserError(f'{path} cannot be read: {type(error).__name__}: {error}') from error
    name_classes(cfg)
    unscope_collate(cfg)
    with _sentences():
        check_names(path, cfg)
        check_types(cfg)
        options = of_stage(args.cfg_options, stage)
        lengths = {name: options.pop(name) for name in LENGTHS if name in options}
        if args.demo:
            cfg = to_demo(cfg)
        if stage != 1:  # whose length the second one's config says
            set_lengths(cfg, lengths, args.epochs, args.demo)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    if args.amp:
        set_amp(cfg, args.amp, torch.cuda.is_available())
    if options.get('views') == 'sample':
        cfg.in_memory = False
    with _sentences():
        if 'speed' in cfg:
            cfg.speed = speed_switches(cfg.speed)  # a dict, so that --cfg-options can change one of its keys
        merge_options(cfg, options)
        check_types(cfg)
        check_fixed_keys(cfg)
        check_log_settings(cfg)
        check_default_scope(cfg)
        leave_out_hooks(cfg)
        place_views(cfg)
        add_speed_hook(cfg)
        if getattr(args, 'init', None):
            print_log(f'--init: {start_from(cfg, args.init)}', 'current')
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or f'{cfg.get("work_dir") or f"work_dirs/{Path(path).stem}"}{"_demo" * args.demo}'
    return cfg


def run(cfg: Config, args: Namespace) -> None:
    """Train ``cfg``. Errors before the first step become sentences, later ones surface as they are.

    Images that can no longer be read, and a disk that is full, are one sentence at any time.
    """
    check_data(cfg)
    warnings.filterwarnings('ignore', message="Only use 'alpha' for pillow backend")  # mmcv, once a worker and epoch
    if cfg.get('load_from') and '://' not in cfg.load_from and not os.path.exists(cfg.load_from):
        stages = f', or run both stages: tools/train.py {args.config} --stages' if 'stage1_config' in cfg else ''
        raise UserError(
            f'load_from={cfg.load_from}: no such checkpoint; set it with --cfg-options load_from=PATH{stages}'
        )
    if cfg.get('load_from') and os.path.isfile(cfg.load_from):
        check_whole(cfg.load_from, 'load_from=')
    if not torch.cuda.is_available():
        keep_freed_memory()
    use_gloo(cfg)
    progress = _Progress()
    try:
        _train(cfg, progress)
    except BaseException as error:
        told = _as_told(error, progress, cfg)
        if told is not error:
            told.__cause__ = error  # looked at before it is raised
        note_end(progress.runner, told, cfg.work_dir)
        if told is error:
            raise
        raise told from error


def _train(cfg: Config, progress: _Progress) -> None:
    check_hidden(cfg, MMENGINE)  # now, for the hidden one's arguments may not be those of the other
    runner = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    progress.runner = runner
    runner.logger.addFilter(heed_no_frozen)
    runner.register_hook(progress)
    loader = runner.train_loop.dataloader  # built here, before schedulers that count its batches
    check_loader(loader, runner.world_size)
    for kind in (PreflightHook, LoadCheckHook):
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind())
    runner.train()


def _as_told(error: BaseException, progress: _Progress, cfg: Config) -> BaseException:
    """``error`` itself, or what a user needs to know of it."""
    if isinstance(error, CorruptImagesError):
        go_on = '; the same command with --resume goes on from the last checkpoint' if progress.begun else ''
        return UserError(f'{error}{go_on}')
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return error
    if not progress.begun:
        return UserError(_said(error, cfg))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f'{error.strerror}, for work_dir {os.path.abspath(cfg.work_dir)} or for temporary files: make room; '
            'the same command with --resume goes on from the last whole checkpoint'
        )
    return error


def _run_first_stage(cfg: Config, args: Namespace) -> str:
    """Train ``stage1_config`` (or go on with it) and return its last checkpoint."""
    if 'stage1_config' not in cfg:
        raise UserError(f'--stages needs a config with a stage1_config, and {args.config} has none')
    if 'stage1_epochs' not in cfg:
        raise UserError(f'--stages needs stage1_epochs, the length of {cfg.stage1_config}: set it in {args.config}')
    first = read_config(Path(args.config).parent / cfg.stage1_config, args, stage=1)
    with _sentences():
        set_epochs(first, cfg.stage1_epochs)
    first.work_dir = str(Path(cfg.work_dir) / 'stage1')
    latest = latest_checkpoint(first.work_dir)
    if latest is None or not is_last(latest, first):
        check_data(cfg)
        try:
            check_hidden(cfg, MMENGINE)
            rehearse(cfg)
        except Exception as error:
            said = _said(error, cfg)
            if 'cuda' not in said.lower():  # what needs a GPU cannot be tried on the CPU
                raise UserError(f'stage 2 would stop at its first step: {said}') from error
            print_log(f'Stage 2 could not be tried beforehand: {said}', 'current', logging.WARNING)
        print_log(f'Stage 1 of 2: {first.train_cfg.max_epochs} epochs of {first.filename}', 'current')
        if latest and args.resume:
            resume_from(first, 'auto')
        elif latest:
            text = f'Stage 1 begins anew: {latest} is not known to be its last checkpoint (--resume goes on from it)'
            print_log(text, 'current', logging.WARNING)
        run(first, args)
        barrier()  # rank 0 may still be writing the checkpoint that all go on from
        latest = latest_checkpoint(first.work_dir)
        if latest is None:
            raise UserError(
                f'stage 1 has left no checkpoint in {first.work_dir}: stage1.default_hooks.checkpoint saves one'
            )
    print_log(f'Stage 2 of 2: {cfg.train_cfg.max_epochs} epochs of {cfg.filename}, from {latest}', 'current')
    return latest


class _Progress(Hook):
    """How far a run came: its runner, once built, and whether it has taken a step."""

    runner: Runner | None = None
    begun = False

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.begun = True


def _said(error: Exception, cfg: Config) -> str:
    try:
        return sentence(error, cfg)
    except Exception:  # the mistake matters, not what is wrong with its explanation
        return f'{type(error).__name__}: {error}'


@contextmanager
def _sentences():
    """A ValueError of ours as a sentence for the user."""
    try:
        yield
    except (ValueError, FileNotFoundError, KeyError) as error:
        raise UserError(error.args[0] if isinstance(error, KeyError) else error) from error
