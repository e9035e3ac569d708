"""What was measured, as JSON and as a Markdown table."""

from __future__ import annotations

import inspect
import json
import platform
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

from benchmarks import record

from . import SECTIONS
from .contest import Setting
from .hold import MEASURED

LIBRARIES = ('torch', 'torchvision', 'numpy', 'scipy', 'PIL', 'mmengine', 'mmcv', 'mmpretrain', 'lightly', 'kornia')
TITLES = dict(
    views='Views: MoCo v2 augmentation, two views of uint8 images in memory to a normalised batch, one core',
    steps='Training step',
    losses='Losses, forward and backward',
    update="ContrastiveCrop's boxes",
)


def describe(setting: Setting) -> dict:
    """The setting and the versions of everything, no date and no name of a machine."""
    versions = dict(python=platform.python_version())
    for name in LIBRARIES:
        try:
            versions[name] = import_module(name).__version__
        except ModuleNotFoundError:
            versions[name] = None
    found = asdict(setting) | dict(versions=versions, vector_unit=torch.backends.cpu.get_cpu_capability())
    if setting.device == 'cuda':
        found['gpu'] = torch.cuda.get_device_name()
    return found


def read(path: Path) -> dict:
    """Sections that an earlier run has written; none if there is no file."""
    return json.loads(path.read_text())['sections'] if path.exists() else {}


def write(sections: dict, path: Path) -> None:
    """``sections``: name -> ``setting`` (:func:`describe`) and ``contests`` (:func:`hold.hold`)."""
    record.write(path, dict(sections=sections), markdown(sections))


def markdown(sections: dict) -> str:
    """A table a section, every row of every contest."""
    parts = [
        'Ratio: time of viewplug over time of the peer for the same work, median over interleaved rounds (quartiles). '
        '**Above 1 viewplug is slower.** "Within spread": 1 lies between the quartiles.'
    ]
    for name, section in sections.items():
        text = [f'## {TITLES.get(name, name)}', _note(name), _setting(section['setting']), _table(section['contests'])]
        parts += [part for part in text if part]
    return '\n\n'.join(parts)


def _note(name: str) -> str:
    """What the section's module says of itself below its first line."""
    module = import_module(f'{__package__}.{SECTIONS[name]}')
    return inspect.cleandoc(module.__doc__).partition('\n\n')[2]


def _setting(setting: dict) -> str:
    versions = ', '.join(f'{name} {number or "not installed"}' for name, number in setting['versions'].items())
    where = setting.get('gpu') or f'CPU ({setting["vector_unit"]})'
    toy = ' **Toy sizes (--quick): the times mean nothing.**' if setting['quick'] else ''
    kept = ', freed memory kept for everybody' if setting.get('freed_memory_kept') else ''
    return f'{where}, threads: {setting["threads"]} (views: 1){kept}; {versions}.{toy}'


def _table(contests: list[dict]) -> str:
    memory = any('peak_mib' in entry for contest in contests for entry in contest['contestants'])
    units = {contest['unit'] for contest in contests}
    unit = units.pop() if len(units) == 1 else 'items'
    head = ['work', 'viewplug', 'peer', 'ratio', 'verdict', f'viewplug {unit}/s', f'peer {unit}/s']
    head += ['viewplug peak MiB', 'peer peak MiB'] if memory else []
    lines = [head, ['---'] * len(head)]
    for contest in contests:
        entries = {entry['name']: entry for entry in contest['contestants']}
        for row in contest['rows']:
            pair = entries[row['ours']], entries[row['peer']]
            cells = [contest['work'], row['ours'].removeprefix('viewplug, '), row['peer'], _ratio(row), verdict(row)]
            cells += [_number(entry.get('per_second')) for entry in pair]
            cells += [_number(entry.get('peak_mib')) for entry in pair] if memory else []
            lines.append(cells)
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '/') for cell in line) + ' |' for line in lines)


def verdict(row: dict) -> str:
    """'faster', '**slower**', either 'within spread', or why there is no number."""
    if row['status'] != MEASURED:
        return row['status']
    low, high = row['quartiles']
    return ('**slower**' if row['ratio'] > 1 else 'faster') + (', within spread' if low <= 1 <= high else '')


def _ratio(row: dict) -> str:
    if row['status'] != MEASURED:
        return '-'
    low, high = row['quartiles']
    return f'{_digits(row["ratio"])} ({_digits(low)} to {_digits(high)})'


def _digits(ratio: float) -> str:
    return f'{ratio:.3f}' if 0.01 <= ratio < 10 else f'{ratio:.2g}'


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:,.0f}' if value >= 100 else f'{value:.1f}'
