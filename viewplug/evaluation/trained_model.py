"""The model of a config with the weights of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from mmengine import Config
from torch import nn

from viewplug.registry import MODELS
from viewplug.transfer.checkpoint import read_checkpoint, weights_of


def trained_model(cfg: Config, path: str | Path) -> tuple[nn.Module, dict]:
    """``cfg.model`` (with the top-level ``data_preprocessor``) with the weights of ``path``, and the checkpoint.

    Raises:
        ValueError: the checkpoint is another model's, or no checkpoint.
    """
    settings = cfg.model.copy()
    if cfg.get('data_preprocessor'):
        settings.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(settings)
    checkpoint = read_checkpoint(path)
    state = {key.removeprefix('module.'): value for key, value in weights_of(checkpoint).items()}
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise ValueError(f'{path} does not fit model in the config: {" ".join(str(error).split())[:300]}') from None
    lacking = [key for key in missing if key.startswith('backbone.')]
    if lacking:
        raise ValueError(f"{path} lacks {len(lacking)} of the backbone's weights ({lacking[0]}, ...): another model's?")
    return model, checkpoint
