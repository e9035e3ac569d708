"""What ended a run too early, kept in its work dir."""

from __future__ import annotations

import contextlib
import logging
import os
import traceback

from mmengine.logging import MMLogger
from mmengine.runner import Runner

from viewplug.config.training_data import UserError
from viewplug.hooks.preemption import Preempted
from viewplug.hooks.run_record import RunRecordHook
from viewplug.run.command import was_interrupted


def note_end(runner: Runner | None, error: BaseException, work_dir: str) -> None:
    """Write ``error`` into the log file (with its traceback, but for a UserError), whose errors ``tools/report.py``
    shows, and, with ``viewplug.RunRecordHook``, into ``run.json``. The screen shows it anyway.

    Args:
        runner: None where it could not be built; the log is that of the last one that began to be in ``work_dir``,
            if one did.
        work_dir: of the run.
    """
    said = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
    log = said
    if isinstance(error, Preempted):  # has said so in the log
        status, said, log = 'preempted', None, None
    elif was_interrupted(error):
        status, said, log = 'interrupted', None, 'interrupted'
    elif isinstance(error, SystemExit) and not error.code:
        status, said, log = 'stopped', None, None
    else:
        status = 'failed'
        if not isinstance(error, UserError):  # what happened first: a report has room for the beginning only
            log = f'{said}\n{"".join(traceback.format_exception(error)).rstrip()}'
    with contextlib.suppress(OSError):  # of a full disk, say, which is no reason to hide the first error
        for hook in runner.hooks if runner is not None else ():
            if isinstance(hook, RunRecordHook):
                hook.end(status, said)
        if log:
            logger = MMLogger.get_current_instance() if runner is None else runner.logger
            if runner is not None or _is_of(logger, work_dir):
                _to_log_file(logger, log, error.__cause__ or error)


def _is_of(logger: logging.Logger, work_dir: str) -> bool:
    """Whether its file is in a session's folder of ``work_dir``; that of stage 1 is in one deeper."""
    files = [handler.baseFilename for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    return any(os.path.dirname(os.path.dirname(file)) == os.path.abspath(work_dir) for file in files)


def _to_log_file(logger: logging.Logger, text: str, error: BaseException) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    file, line, function = (frames[-1].filename, frames[-1].lineno, frames[-1].name) if frames else (__file__, 0, '')
    record = logger.makeRecord(logger.name, logging.ERROR, file, line, text, (), None, function)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.acquire()  # not handler.handle, which prints what keeps it from writing
            try:
                handler.stream.write(handler.format(record) + handler.terminator)
                handler.flush()
            finally:
                handler.release()
