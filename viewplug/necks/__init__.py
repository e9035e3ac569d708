"""What is read off the network: features in, embedding out, always as a 1-tuple like mmpretrain's necks."""

from .hcl import HCLNeck
from .mlp import MLPNeck
from .pool import PoolNeck
from .region import RegionNeck
from .residual import ResidualNeck

__all__ = ['HCLNeck', 'MLPNeck', 'PoolNeck', 'RegionNeck', 'ResidualNeck']
