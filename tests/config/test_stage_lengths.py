"""How long the two stages of a run are."""

import pytest
from mmengine import Config

from viewplug.config.stage_lengths import set_lengths


def lengths(given=(), epochs=None, demo=False, **own):
    """Epochs of the first stage, of the second, and its schedule's."""
    cfg = Config(
        dict(
            stage1_config='first.py',
            train_cfg=dict(max_epochs=100),
            param_scheduler=[dict(type='CosineAnnealingLR', T_max=100)],
            **{'stage1_epochs': 200, 'stage2_epochs': 100, **own},
        )
    )
    if cfg.stage1_epochs is None:
        cfg.pop('stage1_epochs')
    set_lengths(cfg, dict(given), epochs, demo)
    return cfg.get('stage1_epochs'), cfg.train_cfg.max_epochs, cfg.param_scheduler[0].T_max


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(), (200, 100, 100)),
        (dict(stage2_epochs=50), (200, 50, 50)),  # of the config, which is 100 epochs long without it
        (dict(given=dict(stage2_epochs=50)), (200, 50, 50)),
        (dict(given=dict(stage1_epochs=7)), (7, 100, 100)),
        (dict(epochs=10), (20, 10, 10)),
        (dict(epochs=1, stage1_epochs=10), (1, 1, 1)),
        (dict(epochs=10, given=dict(stage1_epochs=7)), (7, 10, 10)),
        (dict(stage1_epochs=None), (None, 100, 100)),  # which only --stages misses
        (dict(demo=True), (50, 100, 100)),
        (dict(demo=True, epochs=9), (4, 9, 9)),
        (dict(demo=True, given=dict(stage1_epochs=2, stage2_epochs=6)), (2, 6, 6)),
    ],
)
def test_the_first_stage_keeps_its_share_unless_its_length_is_given(settings, expected):
    assert lengths(**settings) == expected


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        (dict(epochs=3, given=dict(stage2_epochs=2)), '--epochs 3 and stage2_epochs=2 mean the same stage'),
        (dict(given=dict(stage1_epochs=0)), 'stage1_epochs must be a whole number of epochs, at least 1, got 0'),
        (dict(given=dict(stage2_epochs='all')), "stage2_epochs must be .* got 'all'"),
    ],
)
def test_lengths_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        lengths(**settings)


def test_a_config_without_stages_has_no_lengths_of_stages():
    cfg = Config(dict(train_cfg=dict(max_epochs=4)))
    set_lengths(cfg, {}, 2, False)
    assert cfg.train_cfg.max_epochs == 2 and 'stage1_epochs' not in cfg
    with pytest.raises(ValueError, match='stage2_epochs=3 is for a config with a stage1_config'):
        set_lengths(cfg, dict(stage2_epochs=3), None, False)
