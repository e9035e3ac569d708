"""The model of a config with the weights of a checkpoint, to be looked at."""

from __future__ import annotations

from pathlib import Path

from mmengine import Config
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn

from viewplug.registry import MODELS
from viewplug.training_data import UserError


def load_model(cfg: Config, path: str | Path) -> tuple[nn.Module, dict]:
    """The model on the CPU, and the checkpoint.

    Raises:
        UserError: no such file, weights of other shapes, or weights of the backbone that the checkpoint lacks.
    """
    if not Path(path).is_file():
        raise UserError(f'no file {Path(path).resolve()}')
    settings = cfg.model.copy()
    if cfg.get('data_preprocessor'):
        settings.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(settings)
    checkpoint = _load_checkpoint(str(path), map_location='cpu')
    state = {key.removeprefix('module.'): value for key, value in checkpoint.get('state_dict', checkpoint).items()}
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise UserError(f'{path} does not fit model in the config: {" ".join(str(error).split())[:300]}') from None
    lacking = [key for key in missing if key.startswith('backbone.')]
    if lacking:
        raise UserError(f"{path} lacks {len(lacking)} of the backbone's weights ({lacking[0]}, ...): another model's?")
    return model, checkpoint
