"""What every test starts from: one thread, known random numbers, no scope left over from a Runner."""

import random

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def known_start():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    # overwrite_default_scope(None) leaves the scope of the last Runner in force.
    DefaultScope._instance_dict.clear()
    yield
    DefaultScope._instance_dict.clear()
