"""A sentence where images that should be one batch have several sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

STACK = re.compile(
    r'stack expects each tensor to be equal size, but got (\[[^]]*\]) at entry \d+ and (\[[^]]*\])'
    r'|default_collate(?s:.)*Trying to resize storage that is not resizable'  # how a loader's worker says it
)


@contextmanager
def one_size(pipeline: str) -> Iterator[None]:
    """Say of torch's error about a stack, a loader worker's too, which pipeline it comes from and what to add there.

    Args:
        pipeline: the key in the config, such as ``val_dataloader.dataset.pipeline``.

    Raises:
        ValueError: the images of a batch differ in size.
    """
    try:
        yield
    except RuntimeError as error:
        found = STACK.search(str(error))
        if found is None:
            raise
        sizes = f' ({found[1]} and {found[2]})' if found[1] else ''
        raise ValueError(
            f'{pipeline} gives images of several sizes in one batch{sizes}: bring them to one size '
            "before its PackInputs, with dict(type='ResizeEdge', scale=256, edge='short') and dict(type='CenterCrop', "
            'crop_size=224), or the sizes of your views'
        ) from error
