"""Lines that say what is being done and how long it may take."""

from __future__ import annotations

import sys
import time

from .contest import Contest

SILENCE = 20
MEMORY_SECONDS = dict(steps=8, losses=3)


class Progress:
    """Estimates from the contests' planned seconds, stretched by what the done ones took.

    Args:
        plan: (section, contest) in the order in which they are held.
        with_memory: peak memory is measured too.
    """

    def __init__(self, plan: list[tuple[str, Contest]], with_memory: bool) -> None:
        self.planned = [_planned(section, contest, with_memory) for section, contest in plan]
        self.names = [f'{section}: {contest.work}' for section, contest in plan]
        self.number = -1
        self.begin = self.said = time.monotonic()

    def start(self) -> None:
        """The next contest begins."""
        self.number += 1
        self._say(f'{self.names[self.number]} ...')

    def round_done(self, done: int, of: int) -> None:
        if time.monotonic() - self.said > SILENCE:
            self._say(f'{self.names[self.number]}: round {done} of {of}')

    def _say(self, what: str) -> None:
        self.said = time.monotonic()
        done = sum(self.planned[: self.number])
        stretch = max(1, (self.said - self.begin) / done) if done > 30 else 1
        left = max(sum(self.planned) * stretch - (self.said - self.begin), 0) / 60
        print(f'[{self.number + 1}/{len(self.names)}, about {left:.0f} min left] {what}', file=sys.stderr, flush=True)


def _planned(section: str, contest: Contest, with_memory: bool) -> float:
    each = MEMORY_SECONDS.get(section, 3) if contest.memory and with_memory and contest.seconds else 0
    return 1.3 * contest.seconds + each * len(contest.contestants)
