"""What a benchmark found, on disk: its numbers as JSON, and the table of them that documents show."""

from __future__ import annotations

import json
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parent / 'results'


def default_out(name: str, device: str) -> Path:
    """Where a benchmark writes unless told otherwise, without suffix: a GPU's numbers beside a CPU's, not over them."""
    return RESULTS / (name if device == 'cpu' else f'{name}_{device.split(":")[0]}')


def device_name(device: str) -> str:
    """'cpu', or which GPU: what a result says it was measured on."""
    return device if device == 'cpu' else torch.cuda.get_device_name(device)


def write(out: Path, found: dict | list, table: str) -> None:
    """``out`` with .json and .md, each replaced as a whole, so that a crash leaves the last finished ones."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for suffix, text in (('.json', json.dumps(found, indent=1)), ('.md', table)):
        fresh = out.with_suffix(f'{suffix}.new')
        fresh.write_text(text.rstrip('\n') + '\n')
        fresh.replace(out.with_suffix(suffix))
