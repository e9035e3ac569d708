"""What ended a run too early, kept in its work dir."""

from __future__ import annotations

import contextlib
import logging
import traceback

from mmengine.runner import Runner

from viewplug.command import was_interrupted
from viewplug.hooks.preemption import Preempted
from viewplug.hooks.run_record import RunRecordHook
from viewplug.training_data import UserError


def note_end(runner: Runner, error: BaseException) -> None:
    """Write ``error`` into the log file (a traceback; of a UserError its sentence), whose errors ``tools/report.py``
    shows, and, with ``viewplug.RunRecordHook``, into ``run.json``. The screen shows it anyway.
    """
    if isinstance(error, Preempted):  # has said so in the log
        status, said, log = 'preempted', None, None
    elif was_interrupted(error):
        status, said, log = 'interrupted', None, 'interrupted'
    elif isinstance(error, UserError):
        status, said, log = 'failed', str(error), str(error)
    else:
        status, said = 'failed', f'{type(error).__name__}: {error}'
        log = ''.join(traceback.format_exception(error)).rstrip()
    for hook in runner.hooks:
        if isinstance(hook, RunRecordHook):
            with contextlib.suppress(OSError):  # of a full disk, say, which is no reason to hide the first error
                hook.end(status, said)
    if log:
        _to_log_file(runner.logger, log)


def _to_log_file(logger: logging.Logger, text: str) -> None:
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, text, (), None)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
