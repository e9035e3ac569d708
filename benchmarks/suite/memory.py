"""Peak memory of one contestant, in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from .contest import Contestant, Setting, contests_of

CALLS = 2
# glibc's mallopt: from so many bytes on, memory is the process's own and goes back when freed. By default the limit
# moves with what was freed before, and the peak of the same work with it, by a quarter from run to run.
_M_MMAP_THRESHOLD, _OWN_FROM = -3, 2**16
_PRELOADED = ['mmpretrain.models', 'viewplug.frameworks', 'viewplug.heads', 'viewplug.losses', 'mmengine.dataset']


def peak_memory(section: str, key: str, name: str, setting: Setting) -> float:
    """MiB that a contestant needs at most, built and called ``CALLS`` times (the second has an optimiser's state).

    On a CPU the growth of the process (pages in memory), on a GPU PyTorch's tensors.

    Args:
        section, key, name: of the contestant.
        setting: under which it is measured.
    """
    # A forked copy of a server that has imported the libraries: imports are neither waited for again nor counted.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context('forkserver' if 'forkserver' in methods else 'spawn')
    if context.get_start_method() == 'forkserver':
        context.set_forkserver_preload(_PRELOADED)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure, section, key, name, setting).result()


def _measure(section: str, key: str, name: str, setting: Setting) -> float:
    torch.set_num_threads(setting.threads)
    _libc('mallopt', _M_MMAP_THRESHOLD, _OWN_FROM)
    _find(section, key, name, replace(setting, quick=True)).build()()  # thread pools, lazy imports
    _give_back()
    before = _now(setting.device)
    work = _find(section, key, name, setting).build()
    _give_back()
    _forget_peak(setting.device)  # building may need more for a moment than training ever does
    for _ in range(CALLS):
        work()
    return (_peak(setting.device) - before) / 2**20


def _find(section: str, key: str, name: str, setting: Setting) -> Contestant:
    contest = next(contest for contest in contests_of(section, setting) if contest.key == key)
    return next(contestant for contestant in contest.contestants if contestant.name == name)


def _give_back() -> None:
    """What is freed but kept by the C library would be counted, or hide what comes next."""
    gc.collect()
    _libc('malloc_trim', 0)


def _libc(name: str, *arguments: int) -> None:
    """Call a function of glibc, where it is the C library."""
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == 'linux' else None
    if function:
        function(*arguments)


def _now(device: str) -> int:
    if device == 'cuda':
        return torch.cuda.memory_allocated()
    pages = Path('/proc/self/statm')
    return int(pages.read_text().split()[1]) * resource.getpagesize() if pages.exists() else _peak(device)


def _peak(device: str) -> int:
    if device == 'cuda':
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def _forget_peak(device: str) -> None:
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:  # not Linux, or not allowed: the peak of building counts too
        return
