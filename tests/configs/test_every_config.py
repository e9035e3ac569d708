"""Every pre-training config: its learning rate is for the batch that ``auto_scale_lr`` names, so that scaling leaves it
alone, and it has the hooks without which a run loses what it did.
"""

from pathlib import Path

import pytest
from mmengine import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
HOOKS = ('ResumeCheckHook', 'SyncRunningStatsHook', 'FiniteWeightsHook', 'PreemptionHook')
PATHS = [path for path in sorted(CONFIGS.rglob('*.py')) if not {'_base_', 'transfer'} & set(path.parts)]


@pytest.mark.parametrize('path', PATHS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_the_batch_of_the_learning_rate_and_the_hooks_that_keep_a_run(path):
    cfg = Config.fromfile(path)
    assert {f'viewplug.{name}' for name in HOOKS} <= {hook.type for hook in cfg.default_hooks.values()}
    batch, scaled = cfg.train_dataloader.batch_size, cfg.auto_scale_lr
    if scaled.get('enable'):
        return  # a rate for every so many images, which the run itself scales: SimCLR's study
    processes, rest = divmod(scaled.base_batch_size, batch)
    assert not rest and processes in ((1,) if batch >= 512 else (1, 8, 16, 32)), (scaled.base_batch_size, batch)
