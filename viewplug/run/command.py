"""What a command line tool does around its work: whatever is missing or wrong is one sentence and exit status 2."""

from __future__ import annotations

import atexit
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from viewplug.requirements import require


def run_tool(
    work: Callable[[Namespace], object],
    parse_args: Callable[[Sequence[str] | None], Namespace],
    modules: Sequence[str],
    argv: Sequence[str] | None = None,
) -> int:
    """Exit status of ``work(parse_args(argv))``: what it returns, if that is a whole number, or 0; 130 after Ctrl-C.

    Args:
        work: raises UserError, ValueError or OSError (of a path that is wrong or cannot be written) with a sentence for
            the user, which is printed unless the arguments have a ``traceback`` that is true.
        modules: imported before the arguments are parsed; one that is missing is said with the way to install it.
    """
    try:
        require(*modules)
    except ImportError as error:
        return _told(error)
    args = parse_args(argv)
    from viewplug.config.training_data import UserError

    try:
        found = work(args)
        return found if isinstance(found, int) else 0
    except BaseException as error:
        if getattr(args, 'traceback', False):
            raise
        if was_interrupted(error):
            print('interrupted', file=sys.stderr)
            return 130
        if not isinstance(error, (UserError, ValueError, OSError)):
            raise
        return _told(error)


def output_file(path: str | Path) -> Path:
    """``path``, which is to be written when the work is done: its folder is made and looked at before the work begins.

    Raises:
        OSError: it is a folder, or its folder cannot be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder, and the result is a file: name a file in it')
    if not all(os.access(place, os.W_OK) for place in (path.parent, path) if place.exists()):
        raise PermissionError(f'{path} cannot be written: name a file in a folder of yours, with --out')
    return path


def was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind ``error``, which a library's bare ``except`` may have raised in its place."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def leave(status: int) -> NoReturn:
    """End a tool's process, with ``status``.

    One of several processes leaves without Python's teardown, behind all that was registered to run at exit. mmengine's
    Runner starts the process group and nobody ends it, and gloo's threads then ask for an interpreter that is gone: a
    process that did all its work dies of SIGABRT, and its launcher ends the others.
    """
    distributed = sys.modules.get('torch.distributed')  # there may be no torch
    if distributed and distributed.is_available() and distributed.is_initialized():
        if status == 0:  # after an error others may still wait for this process, and their launcher ends them
            distributed.destroy_process_group()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _told(error: Exception) -> int:
    print(f'error: {error}', file=sys.stderr)
    return 2
