"""What is compared with what: pairs, negatives, predictors, regions."""

from .queue import QueueHead

__all__ = ['QueueHead']
