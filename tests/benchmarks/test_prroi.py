"""The benchmark of Precise RoI Pooling on a machine whose mmcv has no kernel for its GPU."""

import sys
from pathlib import Path

import torch
from pretend_gpu import pretend_gpu

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.prroi import contestants, timed


def test_on_a_gpu_without_mmcvs_kernel_the_others_run_and_a_line_says_so(capsys):
    with pretend_gpu():
        others = contestants('cuda')
        features = torch.randn(1, 2, 5, 5, device='cuda', requires_grad=True)
        rows = torch.tensor([[0.0, 1, 1, 3, 3]], device='cuda')
        assert all(timed(lambda run=run: run(features, rows, 1), features, 'cuda') > 0 for run in others.values())
    assert list(others) == ['RoIAlign, 2 x 2 samples', 'RoIAlign, adaptive']
    assert 'mmcv PrRoIPool is left out: ' in capsys.readouterr().out
