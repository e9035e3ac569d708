"""Tensor operations that stand on their own."""

from .gather import gather_rows
from .precision import at_least_float32

__all__ = ['at_least_float32', 'gather_rows']
