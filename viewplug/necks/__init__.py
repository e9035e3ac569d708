"""What is read off the network: features in, embedding out, always as a 1-tuple like mmpretrain's necks."""

from .dino import DINONeck
from .hcl import HCLNeck
from .masked_conv import MaskedConvContext
from .mlp import MLPNeck
from .pool import PoolNeck
from .region import RegionNeck
from .residual import ResidualNeck

__all__ = ['DINONeck', 'HCLNeck', 'MLPNeck', 'MaskedConvContext', 'PoolNeck', 'RegionNeck', 'ResidualNeck']
