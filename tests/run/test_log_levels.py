"""The frozen target of a run whose optimiser has rules for parameters is not a warning for each tensor."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / 'tools'))

from train_runs import demo

from viewplug.run.launch import train
from viewplug.visualization.run_files import read_run


def test_frozen_parameters_are_information(tmp_path):
    train(demo('configs/mocov2_r50.py', tmp_path, {'optim_wrapper.paramwise_cfg': dict(norm_decay_mult=0.0)}))
    (log,) = (tmp_path / 'work').glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'is skipped since its requires_grad=False' in line]
    assert lines and all(' - INFO - target.' in line for line in lines)
    assert not any('requires_grad' in text for text, _ in read_run(tmp_path / 'work').problems)
