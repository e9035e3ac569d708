"""What a contest is: one piece of work, those who do it, and under which setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from . import SECTIONS


@dataclass(frozen=True)
class Setting:
    """
    Attributes:
        device: 'cpu' or 'cuda'.
        threads: of a process on the CPU, where the contest does not fix them.
        quick: toy sizes, to see that everything runs. The times mean nothing.
        freed_memory_kept: malloc keeps what is freed while times are taken (``viewplug.host_memory``).
    """

    device: str = 'cpu'
    threads: int = 2
    quick: bool = False
    freed_memory_kept: bool = False


@dataclass(frozen=True)
class Contestant:
    """
    Attributes:
        name: whose implementation.
        build: makes the function that is timed and imports what that needs, so that a library that is not installed
            raises ModuleNotFoundError here.
        items: how many of the contest's units one call makes.
        batch: images per call.
        ours: it is compared with everybody who is not ours.
    """

    name: str
    build: Callable[[], Callable[[], Any]]
    items: int
    batch: int
    ours: bool = False


@dataclass(frozen=True)
class Contest:
    """
    Attributes:
        key: names it within its section, the same under every setting.
        work: what is done, for readers.
        unit: what is counted, e.g. 'views'.
        seconds: how long it may take on a CPU; at least ``timing.LEAST`` rounds are run.
        threads: fixed number of threads; None takes the setting's.
        memory: whether each contestant's peak memory is measured too.
    """

    key: str
    work: str
    unit: str
    contestants: Sequence[Contestant]
    seconds: float
    threads: int | None = None
    memory: bool = False


def contests_of(section: str, setting: Setting) -> list[Contest]:
    """The contests of a section of ``SECTIONS``."""
    return import_module(f'{__package__}.{SECTIONS[section]}').contests(setting)
