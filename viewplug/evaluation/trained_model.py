"""The model of a config with the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

from mmengine import Config
from mmengine.registry import DefaultScope
from torch import nn

from viewplug.config.model_config import model_config
from viewplug.ops.channels_first import channels_first
from viewplug.registry import MODELS
from viewplug.transfer.checkpoint import read_checkpoint, weights_of


def trained_model(
    cfg: Config, path: str | Path | None, needed: tuple[str, ...] = ('backbone.',)
) -> tuple[nn.Module, dict]:
    """``cfg.model`` (with the top-level ``data_preprocessor``) with the weights of ``path``, and the checkpoint.

    Args:
        path: None leaves the model as its initialisers do, and the checkpoint empty.
        needed: beginnings of the names of which the checkpoint must have all.

    Raises:
        ValueError: the checkpoint is another model's, or no checkpoint.
    """
    settings = model_config(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        model = MODELS.build(settings)
        if isinstance(getattr(model, 'backbone', None), nn.Module):
            channels_first(model.backbone)  # of mmpretrain's frameworks; viewplug's do it themselves
        if path is None:
            model.init_weights()
            return model, {}
    checkpoint = read_checkpoint(path)
    state = {key.removeprefix('module.'): value for key, value in weights_of(checkpoint).items()}
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        reason = shorten(str(error), 300, placeholder=' ...')
        raise ValueError(f'{path} does not fit model in the config: {reason}') from None
    lacking = [key for key in missing if key.startswith(needed)]
    if lacking:
        raise ValueError(f"{path} lacks {len(lacking)} of the model's weights ({lacking[0]}, ...): another model's?")
    return model, checkpoint
