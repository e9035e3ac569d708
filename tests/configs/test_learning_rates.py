"""A learning rate is for the batch that ``auto_scale_lr`` names: scaling leaves a config with its own batch alone."""

from pathlib import Path

import pytest
from mmengine import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PATHS = [path for path in sorted(CONFIGS.rglob('*.py')) if not {'_base_', 'transfer'} & set(path.parts)]


@pytest.mark.parametrize('path', PATHS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_the_batch_of_the_learning_rate_is_that_of_the_config(path):
    cfg = Config.fromfile(path)
    batch, scaled = cfg.train_dataloader.batch_size, cfg.auto_scale_lr
    if scaled.get('enable'):
        return  # a rate for every so many images, which the run itself scales: SimCLR's study
    processes, rest = divmod(scaled.base_batch_size, batch)
    assert not rest and processes in ((1,) if batch >= 512 else (1, 8, 16, 32)), (scaled.base_batch_size, batch)
