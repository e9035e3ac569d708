"""Residual branches start at zero where the authors' code lets them: their last norm's weights are zeros."""

from pathlib import Path

import pytest
from mmengine import Config
from mmengine.registry import MODELS, DefaultScope

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
ZEROS = dict(mocov1_r50=False, mocov2_r50=False, byol_r50=True, simsiam_r50=True, simclr_r50=True)


@pytest.mark.parametrize(('name', 'zeros'), ZEROS.items())
def test_residual_branches_start_at_zero_in_byol_simsiam_and_simclr_and_not_in_moco(name, zeros):
    cfg = Config.fromfile(CONFIGS / f'{name}.py').model.backbone
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        backbone = MODELS.build(cfg)
    backbone.init_weights()
    blocks = [block for stage in backbone.res_layers for block in getattr(backbone, stage)]
    assert len(blocks) == 16
    assert {bool((block.norm3.weight == 0).all()) for block in blocks} == {zeros}
