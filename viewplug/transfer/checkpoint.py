"""Reading anybody's checkpoint without running anybody's code."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from functools import lru_cache
from textwrap import shorten
from types import SimpleNamespace
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

SAFETENSORS = '.safetensors'
RAW_PICKLES = ('.pkl', '.pickle')  # detectron2's model zoo


def read_checkpoint(path: str | os.PathLike) -> dict:
    """What ``path`` holds, on the CPU: a run of mmengine, a file of torch, safetensors, or detectron2's pickle.

    ``torch.load(weights_only=True)`` with an allow-list for what mmengine puts into its run checkpoints (history
    buffers, numpy arrays and scalars, ConfigDict) and for the argparse namespace in those of DINO and MAE. Nothing else
    in a file is imported, let alone called.

    Args:
        path: a file; ``torchvision://resnet50`` and http(s) addresses are downloaded to torch's cache first.

    Raises:
        ValueError: one sentence for a file that is missing, empty, cut short, no checkpoint at all, or that holds
            something else than data.
    """
    path = os.fspath(path)
    path = _downloaded(path) if '://' in path else path
    if not os.path.exists(path):
        raise ValueError(f'no checkpoint {os.path.abspath(path)}')
    if os.path.isdir(path):
        raise ValueError(f'{path} is a folder, not a checkpoint; name a file in it, such as epoch_200.pth')
    if not os.path.getsize(path):
        raise ValueError(f'{path} is empty: the disk was full, or the copy has not begun')
    try:
        found = _read(path)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path, str(error))) from None
    except Exception as error:  # a broken file raises almost anything, from EOFError to RuntimeError
        said = str(error).partition('. ')[0]
        said = said if ' ' in said else f'{type(error).__name__} {said}'  # a KeyError's is a key alone
        reason = shorten(said, 120, placeholder=' ...')
        raise ValueError(
            f'{path} ({os.path.getsize(path):,} bytes) is no checkpoint, or was cut short in copying ({reason})'
        ) from None
    if not isinstance(found, dict):
        raise ValueError(
            f'{path} holds a {type(found).__name__}, not a dict of weights; save the state_dict() of the model'
        )
    return found


def weights_of(checkpoint: dict) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by name, those of an optimiser aside.

    One set of weights (``state_dict``, ``model``, ...) keeps its names. Where there are several (DINO's ``student`` and
    ``teacher``, an ``ema_state_dict`` beside the ``state_dict``), the others' names begin with the set's. mmengine's
    ``EMAHook`` saves the averaged weights as ``state_dict`` and the network's own as ``ema_state_dict``: these begin
    with ``not_averaged``.
    """
    tensors = _tensors(checkpoint)
    if tensors:
        return tensors
    skipped = ('meta', 'message_hub', 'optimizer', 'param_schedulers')
    sets = {name: _tensors(value) for name, value in checkpoint.items() if name not in skipped}
    sets = {name: value for name, value in sets.items() if value}
    main = next((name for name in ('state_dict', 'model') if name in sets), None)
    main = next(iter(sets)) if len(sets) == 1 else main
    swapped = 'state_dict' in sets and 'steps' in sets.get('ema_state_dict', {})
    starts = {name: '' if name == main else f'{name}.' for name in sets}
    starts |= {'ema_state_dict': 'not_averaged.'} if swapped else {}
    return {f'{starts[name]}{key}': value for name, group in sets.items() for key, value in group.items()}


def is_raw_pickle(path: str) -> bool:
    """Whether a file is a pickle that torch has not written, as detectron2's are; ReSim's converter has torch do it."""
    if not path.endswith(RAW_PICKLES) or zipfile.is_zipfile(path):
        return False
    if not os.path.isfile(path):
        return True
    before_1_6 = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
    with open(path, 'rb') as file:
        return file.read(len(before_1_6)) != before_1_6


def _tensors(value) -> dict[str, torch.Tensor]:
    if not isinstance(value, dict):
        return {}
    as_tensor = {key: torch.from_numpy(v) if isinstance(v, np.ndarray) and v.size else v for key, v in value.items()}
    return {key: v for key, v in as_tensor.items() if isinstance(key, str) and isinstance(v, torch.Tensor)}


def _read(path: str):
    if path.endswith(SAFETENSORS):
        from safetensors import safe_open

        with safe_open(path, 'pt') as file:
            return dict(state_dict={key: file.get_tensor(key) for key in file.keys()}, meta=dict(file.metadata() or {}))  # noqa: SIM118
    if is_raw_pickle(path):
        with open(path, 'rb') as file:
            return _DataUnpickler(file, encoding='latin1').load()
    if hasattr(torch.serialization, 'safe_globals'):
        with torch.serialization.safe_globals([(value, name) for name, value in _allowed().items()]):
            return torch.load(path, map_location='cpu', weights_only=True)
    # torch before 2.5 cannot extend its own list.
    return torch.load(path, map_location='cpu', pickle_module=_data_pickle(), weights_only=False)


class _DataUnpickler(pickle.Unpickler):
    """A pickle of data: a class or function that is not on the list is an error."""

    def find_class(self, module: str, name: str):
        full = f'{module.replace("__builtin__", "builtins")}.{name}'
        if full in _allowed():
            return _allowed()[full]
        if module in ('torch', 'torch._utils', 'torch.storage') and re.fullmatch(
            r'_rebuild_(tensor_v2|parameter)|\w+Storage|(b?float|u?int)\d+|bool|Size|device', name
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'GLOBAL {full} was not an allowed global')


def _data_pickle() -> SimpleNamespace:
    """What ``torch.load`` uses of the module pickle."""
    load = lambda file, **options: _DataUnpickler(file, **options).load()  # noqa: E731
    return SimpleNamespace(__name__='data_pickle', Unpickler=_DataUnpickler, load=load)


@lru_cache
def _allowed() -> dict[str, object]:
    """Full name in a pickle -> what stands for it here."""
    # OpenCV's wheels for numpy 2 import numpy 1.26's `_core`, which is empty.
    core = np._core if hasattr(getattr(np, '_core', None), 'multiarray') else np.core
    found = {
        'collections.OrderedDict': OrderedDict,
        '_codecs.encode': _encoded,
        'builtins.getattr': _statistic,
        'builtins.bytearray': bytearray,
        'builtins.set': set,
        'builtins.slice': slice,
        'argparse.Namespace': argparse.Namespace,
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        'mmengine.config.config.ConfigDict': ConfigDict,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
    }
    for package in ('numpy._core', 'numpy.core'):  # numpy 2 and 1 name them so
        found[f'{package}.multiarray._reconstruct'] = core.multiarray._reconstruct
        found[f'{package}.multiarray.scalar'] = core.multiarray.scalar
    kinds = {type(np.dtype(code)) for code in np.typecodes['All'] if code != 'O'}
    found.update({f'{kind.__module__}.{kind.__qualname__}': kind for kind in kinds})
    return found


def _statistic(owner, name):
    """A history buffer is pickled with its methods, by ``getattr``; this one gives nothing else."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError('GLOBAL builtins.getattr was not an allowed global')


def _encoded(text: str, encoding: str) -> bytes:
    """Bytes are written so in pickle's protocol 2."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError('GLOBAL _codecs.encode was not an allowed global')
    return text.encode('latin1')


def _refusal(path: str, error: str) -> str:
    found = re.search(r'GLOBAL (\S+) (?:was not|whose module)', error)
    if found:
        return (
            f'{path} was not opened: it asks for {found[1]}, and a checkpoint is data, not code. If you trust whoever '
            "made it, save its state_dict() alone with the program that wrote it, and use that file's"
        )
    return f'{path} ({os.path.getsize(path):,} bytes) is no checkpoint: not a file of torch, safetensors or detectron2'


def _downloaded(address: str) -> str:
    if address.startswith('torchvision://'):
        from mmengine.runner.checkpoint import get_torchvision_models

        name, known = address.removeprefix('torchvision://'), get_torchvision_models()
        if name not in known:
            raise ValueError(f'{address}: torchvision has no {name}')
        address = known[name]
    if urlparse(address).scheme not in ('http', 'https', 'file'):
        raise ValueError(f'{address}: only files, torchvision:// and http(s):// addresses can be read')
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    target = os.path.join(folder, os.path.basename(urlparse(address).path))
    if not os.path.exists(target):
        os.makedirs(folder, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, target, progress=False)
        except OSError as error:
            raise ValueError(f'{address} could not be downloaded ({error})') from None
    return target
