"""Hold a contest: who cannot take part is written down, not left out."""

from __future__ import annotations

import gc
import statistics
import traceback
from collections.abc import Callable

from . import timing
from .contest import Contest, Setting
from .memory import peak_memory

MEASURED = 'measured'


def hold(
    section: str,
    contest: Contest,
    setting: Setting,
    with_memory: bool = True,
    said: Callable[[int, int], None] = lambda done, of: None,
) -> dict:
    """Measure one contest.

    Args:
        section: that the contest belongs to.
        with_memory: measure peak memory where the contest asks for it.
        said: told of every round that is done, and how many there are.

    Returns:
        ``key``, ``work``, ``unit``; ``contestants``, each with its ``status`` ('measured', 'not installed: ...',
        'failed: ...') and, if measured, ``per_second``, the ``seconds`` of a call in every round and ``peak_mib``;
        ``rows``, one for each of ours and each peer, see :func:`row`.
    """
    entries = [
        dict(name=one.name, ours=one.ours, batch=one.batch, items=one.items, status=MEASURED)
        for one in contest.contestants
    ]
    with timing.threads(contest.threads or setting.threads):
        works = {}
        for entry, one in zip(entries, contest.contestants, strict=True):
            try:
                works[one.name] = one.build()
                works[one.name]()
            except ModuleNotFoundError as error:
                works.pop(one.name, None)
                entry['status'] = f'not installed: {(error.name or str(error)).split(".")[0]}'
            except Exception as error:
                traceback.print_exc()
                works.pop(one.name, None)
                entry['status'] = f'failed: {type(error).__name__}: {error}'.splitlines()[0]
        quick = dict(most=timing.LEAST, shortest=0.0) if setting.quick else {}
        times = timing.race(works, contest.seconds, timing.waiter(setting.device), said, **quick) if works else {}
    works.clear()
    gc.collect()
    for entry in entries:
        if entry['status'] == MEASURED:
            seconds = times[entry['name']]
            entry.update(per_second=entry['items'] / statistics.median(seconds), seconds=seconds)
            if contest.memory and with_memory:
                entry['peak_mib'] = _memory(section, contest.key, entry['name'], setting)
    rows = [row(mine, peer) for mine in entries if mine['ours'] for peer in entries if not peer['ours']]
    return dict(key=contest.key, work=contest.work, unit=contest.unit, contestants=entries, rows=rows)


def row(mine: dict, peer: dict) -> dict:
    """One comparison.

    Returns:
        ``ours``, ``peer``, ``status``, and if both were measured ``ratio`` with ``quartiles``: seconds per unit of ours
        over the peer's of the same round, so that above 1 ours is slower.
    """
    found = dict(ours=mine['name'], peer=peer['name'], status=MEASURED)
    for entry in (peer, mine):
        if entry['status'] != MEASURED:
            return dict(found, status=f'{entry["name"]} {entry["status"]}')
    ratio = timing.ratio(mine['seconds'], peer['seconds'], (mine['items'], peer['items']))
    return dict(found, ratio=ratio.median, quartiles=[ratio.low, ratio.high], rounds=len(mine['seconds']))


def _memory(section: str, key: str, name: str, setting: Setting) -> float | None:
    try:
        return peak_memory(section, key, name, setting)
    except Exception:  # out of memory, killed: the times stand
        traceback.print_exc()
        return None
