"""Freed memory stays with the process, so that a training step on a CPU does not ask the kernel for it again."""

from __future__ import annotations

import ctypes
import os
import sys

MMAP_MAX, TRIM_THRESHOLD = -4, -1
"""Of glibc's mallopt(3): how many blocks may be mapped one by one, and how much is free when the heap shrinks."""


def keep_freed_memory() -> bool:
    """Have glibc's malloc reuse large blocks instead of returning them to the kernel; True where it accepted that.

    torch allocates and frees each activation on a CPU by malloc. glibc maps those above 32 MiB one by one, and gives
    the end of its heap back, so that the kernel has to clear the same pages in every step. The price: the process stays
    as large as it was at its peak, which holes between blocks raise a little (``benchmarks/host_memory.py``). It is for
    a process that trains on a CPU: torch's CUDA allocator keeps what it has anyway.

    Whoever has set up malloc in the environment (``MALLOC_*``, ``glibc.malloc`` in ``GLIBC_TUNABLES``) keeps that; so
    ``MALLOC_TRIM_THRESHOLD_=131072 python tools/train.py ...`` turns this off.
    """
    chosen = 'glibc.malloc' in os.environ.get('GLIBC_TUNABLES', '')
    if chosen or sys.platform != 'linux' or any(name.startswith('MALLOC_') for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # other libraries than glibc may have none
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, -1))
