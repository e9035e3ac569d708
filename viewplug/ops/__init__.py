"""Tensor operations that stand on their own."""

from .gather import gather_rows

__all__ = ['gather_rows']
