"""What a run checkpoint says of how it was trained, read without running its config."""

from __future__ import annotations

import ast
import re

from viewplug.config.channel_order import believed_order
from viewplug.config.model_config import preprocessor_config


def recorded_config(checkpoint: dict) -> dict:
    """The literal part of the config that a run or an export carries with it; empty if there is none.

    A run of mmengine has it in ``checkpoint['meta']['cfg']``, an export of ours in its card. A config is Python code
    and loading it runs it. Here assignments of literals and ``dict(...)`` are read, and all else is passed over.
    """
    cards = [card for card in (checkpoint.get('meta'), checkpoint.get('card')) if isinstance(card, dict)]
    texts = [card[key] for card in cards for key in ('cfg', 'config') if isinstance(card.get(key), str)]
    if not texts:
        return {}
    text = texts[0]
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {}
    found = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found[statement.targets[0].id] = _value(statement.value)
    return found


def recorded_commit(checkpoint: dict) -> str | None:
    """The git commit that the run was started at: mmengine appends it to its own version."""
    meta = checkpoint.get('meta')
    version = meta.get('mmengine_version', '') if isinstance(meta, dict) else ''
    found = re.search(r'[0-9a-f]{40}$', str(version))
    return found[0] if found else None


def recorded_normalisation(config: dict) -> dict:
    """``mean``, ``std`` and ``to_rgb`` of a viewplug or mmpretrain config, where it has them."""
    seen = preprocessor_config(config)
    return {key: seen[key] for key in ('mean', 'std', 'to_rgb') if isinstance(seen, dict) and key in seen}


def recorded_order(config: dict) -> str | None:
    """Channels as the network saw them, 'RGB' or 'BGR'; None where the config has no data preprocessor."""
    settings = preprocessor_config(config)
    return believed_order(config) if isinstance(settings, dict) and settings else None


def _value(node: ast.expr):
    if isinstance(node, ast.Call):
        plain = isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args
        return {word.arg: _value(word.value) for word in node.keywords if word.arg} if plain else None
    if isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
