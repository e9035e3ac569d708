"""From the host to where the images are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_device(values: np.ndarray | Tensor, device: torch.device | str) -> Tensor:
    """Host values as a tensor on a device, without waiting for the device to finish what it has been told before."""
    tensor = torch.as_tensor(values).contiguous()  # memory cannot be pinned where elements share it
    if tensor.device.type == 'cpu' and torch.device(device).type == 'cuda':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
