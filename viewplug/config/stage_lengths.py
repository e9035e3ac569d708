"""How long a run is, and the stage before it."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine import Config

from viewplug.config.schedule import set_epochs

LENGTHS = ('stage1_epochs', 'stage2_epochs')
DEMO_SHARE = 2  # the stage before has half of a demo


def set_lengths(cfg: Config, given: Mapping[str, int], epochs: int | None, demo: bool) -> None:
    """Lengths of a config and of its ``stage1_config``, if it has one: ``given``, else ``--epochs`` for the config and
    in proportion for the stage before, else the config's own (of a demo: the demo's).

    Args:
        given: of ``LENGTHS`` those on the command line.

    Raises:
        ValueError: a length of a stage that is not there, is below 1, or is given by ``--epochs`` too.
    """
    for name, length in given.items():
        if name not in cfg and 'stage1_config' not in cfg:
            raise ValueError(f'{name}={length} is for a config with a stage1_config, and this has none')
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise ValueError(f'{name} must be a whole number of epochs, at least 1, got {length!r}')
    if epochs is not None and 'stage2_epochs' in given:
        raise ValueError(f'--epochs {epochs} and stage2_epochs={given["stage2_epochs"]} mean the same stage: give one')
    own = given.get('stage2_epochs') or (None if demo else cfg.get('stage2_epochs'))
    wanted = own if epochs is None else epochs
    before = cfg.train_cfg.get('max_epochs') if 'stage1_epochs' in cfg else None
    if wanted is not None:
        set_epochs(cfg, wanted)
    if 'stage1_epochs' in given:
        cfg.stage1_epochs = given['stage1_epochs']
    elif before:
        share = 1 / DEMO_SHARE if demo else cfg.stage1_epochs / (own or before)
        cfg.stage1_epochs = max(1, int(cfg.train_cfg.max_epochs * share + 1e-9))
