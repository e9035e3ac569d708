"""In what configs differ, key by key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

ABSENT = 'not set'


def differing(configs: Sequence[Mapping]) -> dict[str, list[str]]:
    """Dotted keys whose values are not the same in all configs, sorted, and the values as text.

    Components in lists go by their type (``transforms[RandomFlip].prob``); one that a config lacks altogether is one
    entry.
    """
    flat = [dict(_flat('', {key: config[key] for key in sorted(config)})) for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config)
    rows: dict[str, list[str]] = {}
    for key in sorted(keys):
        values = [config.get(key, ABSENT) for config in flat]
        if len(set(values)) == 1:
            continue
        component = next((part for part in _components(key) if any(_lacks(config, part) for config in flat)), None)
        if component is None:
            rows[key] = values
            continue
        there = [{key: value for key, value in config.items() if key.startswith(component)} for config in flat]
        rows[component] = [
            ', '.join(f'{key[len(component) :].lstrip(".")}={value}' for key, value in found.items()) or ABSENT
            for found in there
        ]
    return rows


def _components(key: str) -> list[str]:
    """``a[X].b[Y].c`` -> ``a[X]``, ``a[X].b[Y]``."""
    return [key[: place + 1] for place, letter in enumerate(key) if letter == ']']


def _lacks(config: dict[str, str], component: str) -> bool:
    return not any(key.startswith(component) for key in config)


def _flat(key: str, value) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from _flat(f'{key}.{name}' if key else str(name), child)
    elif isinstance(value, list | tuple) and value and all(isinstance(child, dict) for child in value):
        seen: dict[str, int] = {}
        for place, child in enumerate(value):
            kind = str(child.get('type', place))
            seen[kind] = seen.get(kind, 0) + 1
            yield from _flat(f'{key}[{kind}{f" {seen[kind]}" if seen[kind] > 1 else ""}]', child)
    elif isinstance(value, list | tuple) and value and any(isinstance(child, list | tuple | dict) for child in value):
        for place, child in enumerate(value):
            yield from _flat(f'{key}[{place}]', child)
    else:
        yield key, ', '.join(map(str, value)) if isinstance(value, list | tuple) else str(value)
