"""What every test starts from: one thread, known random numbers, no scope or visualizer left over from a Runner."""

import random

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def known_start():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    forget_runners()
    yield
    forget_runners()


def forget_runners():
    # overwrite_default_scope(None) leaves the scope of the last Runner in force.
    DefaultScope._instance_dict.clear()
    # Runs of one config that begin within a second have one name, and a visualizer of a known name is taken as it is:
    # the second would write to the folder of the first.
    for visualizer in (Visualizer, *Visualizer.__subclasses__()):
        visualizer._instance_dict.clear()


def pytest_collection_modifyitems(items):
    """A set is written in another order by each process: two workers of xdist would name its test differently."""
    for item in items:
        for value in item.callspec.params.values() if hasattr(item, 'callspec') else ():
            if isinstance(value, set | frozenset) and len(value) > 1 and str(value) in item.name:
                raise pytest.UsageError(f'{item.nodeid}: named by a set, whose order differs between processes')
