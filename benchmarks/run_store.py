"""Finished runs of a matrix, a line each, so that a stopped script goes on and several share the work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.record import write


class RunStore:
    """A JSON Lines file: first the setting that all runs share, then the runs.

    Args:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def setting(self) -> dict:
        """Empty where nothing is stored."""
        return self._lines()[0]

    @property
    def rows(self) -> list[dict]:
        return self._lines()[1:]

    def append(self, line: dict) -> None:
        with self.path.open('a') as file:
            file.write(json.dumps(line) + '\n')

    def begin(self, wanted: dict, further: Callable[[], dict]) -> dict | None:
        """The setting: that of the file, or of a new one ``wanted`` and what ``further`` finds out.

        Returns None, and says why, where the file holds runs of another.
        """
        if not self.setting:
            self._claim(wanted | further())
        setting = self.setting
        if any(setting.get(key) != value for key, value in wanted.items()):
            told = f'error: {self.path} holds runs of {setting}: go on with that, or name another --store'
            print(told, file=sys.stderr)
            return None
        return setting

    def _claim(self, setting: dict) -> None:
        """Begin the file, unless another process that shares the work has begun it meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        mine = self.path.with_name(f'{self.path.name}.{os.getpid()}')
        mine.write_text(json.dumps(setting) + '\n')
        with suppress(FileExistsError):
            os.link(mine, self.path)
        mine.unlink()

    def report(self, out: Path, table: Callable, plot: Callable, order: Callable[[dict], tuple]) -> str:
        """Write ``table(rows, setting)``, the picture of ``plot(rows, setting, path)`` and JSON of all that is stored.

        Args:
            order: key by which the rows are sorted.
        """
        setting, rows = self.setting, sorted(self.rows, key=order)
        text = table(rows, setting)
        write(out, dict(setting=setting, rows=rows), text)
        plot(rows, setting, out.with_suffix('.png'))
        return text

    def _lines(self) -> list[dict]:
        text = self.path.read_text() if self.path.exists() else ''
        return [json.loads(line) for line in text.splitlines()] or [{}]


def share_of(work: list, share: str) -> list:
    """``'K/N'``: every N-th piece of the work, from the K-th on."""
    part, parts = map(int, share.split('/'))
    return work[part - 1 :: parts]
