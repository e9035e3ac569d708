"""What a stored result was computed with, and whether it answers another question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def digest_of(value: Any) -> str:
    """The first 12 digits of SHA-256: of a file's bytes for a ``Path``, of its JSON for anything else."""
    found = hashlib.sha256()
    if isinstance(value, Path):
        with value.open('rb') as file:
            while chunk := file.read(1 << 20):
                found.update(chunk)
    else:
        found.update(json.dumps(value, sort_keys=True, default=str).encode())
    return found.hexdigest()[:12]


def stored_result(file: Path, made_with: dict) -> tuple[dict | None, str | None]:
    """The result in a JSON file if it was ``made_with`` exactly this, and a line that says so, or why not.

    Both are None where there is no such file. A file that does not say what it was made with is taken, with a warning.
    """
    if not file.exists():
        return None, None
    try:
        result = json.loads(file.read_text())
    except ValueError:
        return None, f'{file} is no JSON, or was cut short: computed again'
    then = result.get('made_with')
    if then is None:
        return result, (
            f'warning: {file} is taken as it is, made before provenance was recorded; delete it to compute it again'
        )
    now = json.loads(json.dumps(made_with, default=str))  # tuples and the like as a file gives them back
    keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    if not keys:
        return result, f'taken from {file}'
    was = ', '.join(f'{key}={_shown(then.get(key))}' for key in keys)
    return None, f'{file} was made with {was}, now {", ".join(_shown(now.get(key)) for key in keys)}: computed again'


def without(value: Any, unused: Callable[[str], bool]) -> Any:
    """``value`` without the entries of its dicts, at any depth, whose keys are ``unused``."""
    if isinstance(value, dict):
        return {key: without(entry, unused) for key, entry in value.items() if not unused(str(key))}
    return [without(entry, unused) for entry in value] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)
