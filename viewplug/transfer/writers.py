"""How each format of an export is stored."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


def _write_mmdet(state: dict, card: dict, path: Path) -> None:
    torch.save(dict(meta=card, state_dict=state), path)


def _write_plain(state: dict, card: dict, path: Path) -> None:
    torch.save(state, path)  # load_state_dict() has no room for a card


def _write_detectron2(state: dict, card: dict, path: Path) -> None:
    # numpy has no bfloat16
    arrays = {key: (value.float() if value.dtype == torch.bfloat16 else value).numpy() for key, value in state.items()}
    content = dict(model=arrays, __author__='viewplug', card=card)
    with path.open('wb') as file:
        _ArrayPickler(file, protocol=4).dump(dict(content, matching_heuristics=True))  # names lack backbone.bottom_up.


class _ArrayPickler(pickle.Pickler):
    """Arrays under names that every numpy has: one before 1.26 cannot read what numpy 2 pickles by itself."""

    def reducer_override(self, value):
        if isinstance(value, np.ndarray):
            return np.ndarray, (value.shape, value.dtype.str, bytearray(value.tobytes()))
        return NotImplemented


def _write_safetensors(state: dict, card: dict, path: Path) -> None:
    from safetensors.torch import save_file

    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    save_file({key: value.clone() for key, value in state.items()}, path, {**text, 'format': 'pt'})


WRITERS: dict[str, Callable[[dict, dict, Path], None]] = dict(
    mmdet=_write_mmdet,
    timm=_write_plain,
    torchvision=_write_plain,
    detectron2=_write_detectron2,
    safetensors=_write_safetensors,
)
