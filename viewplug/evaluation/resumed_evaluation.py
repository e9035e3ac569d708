"""Whether an interrupted evaluation is the one that is asked for now."""

from __future__ import annotations

from mmengine import Config

from viewplug.config.differences import differing
from viewplug.evaluation.few_labels import LOADING, PLACES
from viewplug.evaluation.provenance import without
from viewplug.run.resuming import latest_checkpoint
from viewplug.transfer.checkpoint import read_checkpoint

KEYS = ('model', 'data_preprocessor', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'param_scheduler')
KEYS += ('train_cfg', 'randomness')
"""What an accuracy follows from. The backbone's values are looked at by ``viewplug.FrozenBackboneHook``."""


def check_resumed(cfg: Config) -> None:
    """Compare ``cfg`` with the config of the last checkpoint in its work dir, which a Runner would go on from.

    The result says the settings of ``cfg``, and a classifier that was trained with others has another accuracy.

    Raises:
        ValueError: they differ in more than where the data lie and how they are read.
    """
    latest = latest_checkpoint(cfg.work_dir)
    text = read_checkpoint(latest).get('meta', {}).get('cfg') if latest else None
    if not text:
        return
    then, now = (_counting(one) for one in (Config.fromstring(text, '.py'), cfg))
    apart = [f'{key}={was}, now {is_now}' for key, (was, is_now) in differing([then, now]).items()]
    if apart:
        raise ValueError(
            f'--resume: {cfg.work_dir} was begun with {"; ".join(apart[:3])}{"; ..." if len(apart) > 3 else ""}: give '
            'the same options, or leave out --resume to begin anew'
        )


def _counting(cfg: Config) -> dict:
    settings = {key: value for key, value in cfg.to_dict().items() if key in KEYS}
    return without(settings, lambda key: key in (*PLACES, *LOADING, 'checkpoint'))
