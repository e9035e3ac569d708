"""What is known of one training run: its config, curves, pictures, problems, and how far it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ENDS = dict(failed='stopped by an error', interrupted='interrupted', preempted='preempted', stopped='stopped')

Curve = list[tuple[float, float]]


@dataclass
class Run:
    """Attributes:
    path: the work dir.
    name: a short one, different for each run of a report.
    config: nested, {} if it cannot be read; ``config_text`` as mmengine wrote it.
    environment: (what, value) in the order of the log.
    curves: scalar -> (step, value), finite, in the order of the steps. Steps count iterations or epochs, as logged.
    problems: (text, how often), warnings and errors of the logs, in order of appearance; and what could not be read.
    pictures: folder -> files, in the order of the numbers in their names.
    record: of ``viewplug.RunRecordHook``, {} without one.
    results: name of a JSON file -> what an evaluation wrote there.
    last: the last training line that was logged, {} if there is none.
    unbegun: sessions behind that of the run that have logged no training step: starts that came to none, or tests that
        ended before their first line. Nothing else here is of them, but for their problems. Of sessions that are known
        to have tested only nothing is here at all.
    """

    path: Path
    name: str = ''
    config: dict = field(default_factory=dict)
    config_text: str = ''
    environment: list[tuple[str, str]] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    problems: list[tuple[str, int]] = field(default_factory=list)
    pictures: dict[str, list[Path]] = field(default_factory=dict)
    record: dict = field(default_factory=dict)
    results: dict[str, dict] = field(default_factory=dict)
    last: dict = field(default_factory=dict)
    unbegun: list[str] = field(default_factory=list)

    @property
    def max_epochs(self) -> int | None:
        return self.config.get('train_cfg', {}).get('max_epochs')

    @property
    def images_per_step(self) -> int | None:
        """Of all processes; as recorded, else the config's batch times the number of GPUs in the log."""
        batch = self.config.get('train_dataloader', {}).get('batch_size')
        processes = dict(self.environment).get('GPU number', '1')
        guessed = batch * int(processes) if isinstance(batch, int) and processes.isdigit() else None
        return self.record.get('images_per_step', guessed)

    @property
    def speeds(self) -> list[tuple[float, float]]:
        """(step, images a second), where the log says how long steps took."""
        images, times = self.images_per_step, self.curves.get('time', ())
        return [(step, images / seconds) for step, seconds in times if seconds > 0] if images else []

    @property
    def status(self) -> str:
        """'finished', or how far it came, and what else has been begun here since."""
        since = f'; begun since, without a training step: {", ".join(self.unbegun)}' if self.unbegun else ''
        return self._came_to() + since

    def _came_to(self) -> str:
        done = self.last.get('epoch', 0), self.last.get('step', 0)
        final = [f'epoch_{self.max_epochs}.pth', f'iter_{self.config.get("train_cfg", {}).get("max_iters")}.pth']
        if self.record.get('status') == 'finished' or (
            not self.record and any((self.path / name).exists() for name in final)
        ):
            return 'finished'
        if not self.last:
            return 'not finished: no training step in its logs'
        steps = f' of {self.record["iterations"]}' if 'iterations' in self.record else ''
        epochs = f' of {self.max_epochs}' if self.max_epochs else ''
        how = ENDS.get(self.record.get('status'), 'running or stopped')
        return f'not finished: {how} in epoch {done[0]}{epochs}, iteration {done[1]}{steps}'
