"""From a checkpoint to somebody else's network: reading, finding, writing, checking, exporting."""

from .check_hook import TransferCheckHook
from .init_from_ssl import InitFromSSL

__all__ = ['InitFromSSL', 'TransferCheckHook']
