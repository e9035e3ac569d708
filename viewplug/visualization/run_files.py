"""What a training run left in its work dir, read without training code: finished, running, or crashed half-way."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from mmengine import Config

from viewplug.visualization.run import Curve, Run

PICTURES = ('.png', '.jpg', '.jpeg')
LINE = re.compile(r'^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d - \S+ - (\w+) - ?(.*)')
STEPS = re.compile(r'(?:Epoch|Iter)\((train|val|test)\)')
"""How mmengine's lines of steps begin."""
PROBLEMS = ('WARNING', 'ERROR', 'CRITICAL')
LONGEST = 800
"""Characters of a warning that are kept."""


def read_run(work_dir: str | Path) -> Run:
    """
    Raises:
        ValueError: the folder is not there, or has no logs of mmengine.
    """
    run = Run(Path(work_dir), Path(work_dir).resolve().name)
    if not run.path.is_dir():
        raise ValueError(f'no work dir {run.path.resolve()}')
    sessions = sorted({path.parent for path in run.path.glob('*/*.log')} | _with_scalars(run.path))
    broken = [*_read_results(run)]
    steps = {session: _kinds_of_steps(session) for session in sessions}
    sessions = [session for session in sessions if not _is_test(session, steps[session], run)]
    if not sessions:
        raise ValueError(
            f'{run.path.resolve()} holds no log of a training run (TIMESTAMP/TIMESTAMP.log): give the work dir of '
            'tools/train.py'
        )
    problems: dict[str, int] = {}
    broken += _tell_unbegun(run, sessions, steps)
    begun = [session for session in sessions if session.name not in run.unbegun]
    for session in sessions:
        into = run if session in begun else Run(run.path)
        for text in _read_scalars(session / 'vis_data' / 'scalars.json', into):
            problems[text] = problems.get(text, 0) + 1
        for log in sorted(session.glob('*.log')):
            for text in _read_log(log, into):
                problems[text] = problems.get(text, 0) + 1
    for text in (*_read_config(run, begun), *broken):
        problems[text] = problems.get(text, 0) + 1
    run.problems = list(problems.items())
    for folder in sorted({path.parent for pattern in ('vis_*/*', '*_test/*') for path in run.path.glob(pattern)}):
        found = sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=_numbers)
        if found:
            run.pictures[folder.name] = found
    return run


def _kinds_of_steps(session: Path) -> set[str]:
    """'train', 'val' and 'test', of what is in its logs."""
    lines = (LINE.match(text) for log in session.glob('*.log') for text in _lines(log))
    kinds = {step[1] for line in lines if line and (step := STEPS.match(line[2]))}
    trained = any('"iter": ' in text for text in _lines(session / 'vis_data' / 'scalars.json'))
    return kinds | {'train'} if trained else kinds


def _is_test(session: Path, steps: set[str], run: Run) -> bool:
    """mmdet's and mmpretrain's tools/test.py write into the work dir of the training, unless told another."""
    return 'test' in steps and 'train' not in steps and session.name != run.record.get('session')


def _tell_unbegun(run: Run, sessions: list[Path], steps: dict[Path, set[str]]) -> Iterator[str]:
    """Note the sessions behind the recorded one, or the last that trained: without a record, or with one of a session
    before it, which is of no use then."""
    names = [session.name for session in sessions]
    trained = [session.name for session in sessions if 'train' in steps[session]]
    own = run.record.get('session')
    if own in names and any(name > own for name in trained):
        yield f'run.json is of {own}, and a later run without viewplug.RunRecordHook has trained here'
        run.record, own = {}, None
    if own not in names:
        own = trained[-1] if trained else names[-1]
    run.unbegun = names[names.index(own) + 1 :]


def _with_scalars(path: Path) -> set[Path]:
    return {scalars.parents[1] for scalars in path.glob('*/vis_data/scalars.json')}


def _read_scalars(path: Path, run: Run) -> Iterator[str]:
    """Add a session's curves. One that starts at an earlier step than the last one ended (a resume from a checkpoint, a
    new start) replaces the rest of it."""
    curves: dict[str, Curve] = {}
    broken = 0
    for text in _lines(path):
        try:
            line = json.loads(text)
            step = float(line['step'])
        except (ValueError, KeyError, TypeError):
            broken += bool(text.strip())
            continue
        if 'iter' in line:
            run.last = line
        for key, value in line.items():
            if key not in ('step', 'iter', 'epoch') and isinstance(value, int | float):
                curves.setdefault(key, []).append((step, float(value)))
    for key, curve in curves.items():
        bad = sum(not math.isfinite(value) for _, value in curve)
        if bad:
            yield f'{bad} values of {key} are not finite (nan or inf); they are left out of its curve'
        kept = [point for point in run.curves.get(key, []) if point[0] < curve[0][0]]
        run.curves[key] = kept + sorted(point for point in curve if math.isfinite(point[1]))
    if broken:
        yield f'{broken} line(s) of {path.parent.parent.name}/vis_data/scalars.json are cut off or broken'


def _read_log(path: Path, run: Run) -> Iterator[str]:
    """Warnings and errors; the environment on the way."""
    problem: list[str] | None = None
    environment: list[tuple[str, str]] = []
    part = ''
    for text in _lines(path):
        text = text.rstrip('\n')
        start = LINE.match(text)
        if start:
            if problem:
                yield '\n'.join(problem)[:LONGEST].strip()
            problem = [start[2]] if start[1] in PROBLEMS else None
            part = ''
        elif problem is not None:
            problem.append(text)
        if text in ('System environment:', 'Runtime environment:'):
            part = text
        elif part and text.startswith('    ') and ': ' in text:
            key, value = text.strip().split(': ', 1)
            if key != 'PyTorch compiling details':
                environment.append((key, value))
    if problem:
        yield '\n'.join(problem)[:LONGEST].strip()
    run.environment = environment or run.environment


def _read_config(run: Run, sessions: list[Path]) -> Iterator[str]:
    """The last one that was written down whole."""
    for path in [*(session / 'vis_data' / 'config.py' for session in reversed(sessions)), *run.path.glob('*.py')]:
        if not path.is_file():
            continue
        run.config_text = run.config_text or path.read_text(errors='replace')
        try:
            # Parsing runs the file, but imports nothing that it names.
            cfg = Config.fromfile(path, import_custom_modules=False, lazy_import=False)
        except Exception as error:  # a file cut off in the middle, or anything else in there
            yield f'{path.relative_to(run.path)} cannot be read: {type(error).__name__}'
            continue
        run.config, run.config_text = cfg.to_dict(), path.read_text(errors='replace')
        return


def _read_results(run: Run) -> Iterator[str]:
    for path in [run.path / 'run.json', run.path / 'linear_eval.json', *sorted(run.path.glob('*_test/*.json'))]:
        if not path.is_file():
            continue
        try:
            found = json.loads(path.read_text())
            if not isinstance(found, dict):
                raise ValueError
        except ValueError:
            yield f'{path.relative_to(run.path)} is cut off or broken'
            continue
        if path.name == 'run.json':
            run.record = found
            if found.get('process'):  # process 0 has its error in the log
                yield f'process {found["process"]}: {found["error"]}'[:LONGEST]
        else:
            run.results[str(path.relative_to(run.path))] = found


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        with open(path, errors='replace') as file:
            yield from file


def _numbers(path: Path) -> list:
    """epoch_2 before epoch_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.stem)]
