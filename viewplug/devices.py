"""Which device, and from the host to where the images are."""

from __future__ import annotations

from argparse import ArgumentTypeError
from textwrap import shorten

import numpy as np
import torch
from torch import Tensor


def to_device(values: np.ndarray | Tensor, device: torch.device | str) -> Tensor:
    """Host values as a tensor on a device, without waiting for the device to finish what it has been told before."""
    tensor = torch.as_tensor(values).contiguous()  # memory cannot be pinned where elements share it
    if tensor.device.type == 'cpu' and torch.device(device).type == 'cuda':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def usable_device(name: str) -> str:
    """A command line's ``--device`` (argparse's ``type``): ``name`` itself, or for ``auto`` a GPU if there is one.

    Raises:
        ArgumentTypeError: torch has no device of this name here, or none that hands back what it has computed.
    """
    if name == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        torch.ones(1, device=name).item()
    except Exception as error:  # RuntimeError, AssertionError ...: every kind of device has its own
        here = ', '.join(['cpu', *(f'cuda:{place}' for place in range(torch.cuda.device_count()))])
        reason = shorten(str(error).partition('. ')[0], 90, placeholder=' ...')
        raise ArgumentTypeError(f'torch cannot compute on {name!r} ({reason}); this machine has {here}') from error
    return name
