"""The number format in which similarities are computed."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay what they are (no copy)."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
