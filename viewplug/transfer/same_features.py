"""Whether a model of another library gives the features that a run trained."""

from __future__ import annotations

import inspect
from typing import NamedTuple

import torch
from torch import Tensor, nn

from viewplug.ops.channels_first import in_torchs_order
from viewplug.transfer.model_calls import NOT_THE_NETWORK
from viewplug.transfer.recorded_backbone import recorded_backbone

ROUNDING = 2e-5  # of the largest feature
READ_OUT = ('out', 'out_type', 'out_indices')  # what a backbone gives, not what it computes
# Not to be suspected where features differ: they show in the names and shapes, or in training only.
HARMLESS = ('depth', 'arch', 'in_channels', 'img_size', 'patch_size', 'frozen_stages', 'norm_eval', 'out_type')


class Comparison(NamedTuple):
    """``note``: how to read the trained features; ``difference``: a sentence where the model does not give them."""

    note: str = ''
    difference: str = ''


class RunFeatures:
    """Features of one random image through the backbone that a run records, with its weights, on the CPU.

    Args:
        recorded: the backbone in the config of the run, empty where there is none.
        weights: of the backbone, under its own names.
        scope: the run's ``default_scope``.
    """

    def __init__(self, recorded: dict, weights: dict[str, Tensor], scope: str | None = None) -> None:
        self.recorded, self.weights, self.scope = recorded, weights, scope

    def compare(self, model: nn.Module, whole: bool = True) -> Comparison:
        """
        Args:
            model: of timm or torchvision, with the exported weights.
            whole: whether its head has weights as well.
        """
        # A backbone of anybody's may fail in any way, and is then no reason not to export.
        try:
            return self._compare(model.eval(), whole)
        except Exception as error:
            reason = ' '.join(str(error).split())[:200] or type(error).__name__
            return Comparison(f'features NOT compared: {reason}')

    @torch.no_grad()
    def _compare(self, model: nn.Module, whole: bool) -> Comparison:
        image = _image_for(model)
        trained = self._trained(image)
        if not trained.isfinite().all():
            raise ValueError('those of the run are not finite')
        readings = _readings(model, image, whole)
        for code, features in readings.items():
            if _equal(features, trained):
                return Comparison(f"features compared: the run's are {code}")
        left_out = {key: self.recorded[key] for key in READ_OUT if key in self.recorded}
        if left_out:
            usual = self._trained(image, left_out)
            for code, features in readings.items():
                if _equal(features, usual):
                    return Comparison(f"features compared: the run's without {_listed(left_out)} are {code}")
        return Comparison(difference=self._difference(readings, trained))

    def _trained(self, image: Tensor, left_out: dict | None = None) -> Tensor:
        settings = {key: value for key, value in self.recorded.items() if key not in (left_out or {})}
        if left_out and 'num_stages' in settings:  # the default may be of a stage that the backbone has not
            settings['out_indices'] = (settings['num_stages'] - 1,)
        backbone = recorded_backbone(settings, self.weights, self.scope)
        # mmpretrain's backbones for masked images give the features of the whole image with mask=None.
        options = dict(mask=None) if 'mask' in inspect.signature(backbone.forward).parameters else {}
        return _vector(in_torchs_order(backbone, backbone(image, **options)))

    def _difference(self, readings: dict[str, Tensor], trained: Tensor) -> str:
        gaps = [(f - trained).abs().max().item() for f in readings.values() if f.shape == trained.shape]
        if gaps:
            size = trained.abs().mean().item()
            found = f"its features of a random image differ by {min(gaps):.2g} from the run's, of mean size {size:.2g}"
        else:
            widths = [f.shape[1] for f in readings.values()]
            found = f"its features have {max(widths)} channels and the run's {trained.shape[1]}"
        suspects = {k: v for k, v in self.recorded.items() if k not in HARMLESS and not NOT_THE_NETWORK.fullmatch(k)}
        return f'{found}: the run has {_listed(suspects)}' if suspects else found


def _image_for(model: nn.Module) -> Tensor:
    """Of the size that a ViT is built for, or a model that takes no other."""
    usual = getattr(model, 'pretrained_cfg', None) or {}
    size = usual['input_size'][1:] if usual.get('fixed_input_size') else (128, 128)
    size = getattr(getattr(model, 'patch_embed', None), 'img_size', None) or size
    weight = next(value for value in model.parameters() if value.dim() == 4)
    return torch.randn(1, weight.shape[1], *size, generator=torch.Generator().manual_seed(0))


def _readings(model: nn.Module, image: Tensor, whole: bool) -> dict[str, Tensor]:
    """Code -> the vectors (1, D) that it gives, the usual ones first."""
    outputs = {'model(x)': model(image)} if whole else {}
    if hasattr(model, 'forward_features'):
        outputs['model.forward_features(x)'] = model.forward_features(image)
    found = {}
    for code, output in outputs.items():
        turned = in_torchs_order(model, output)
        places = '.mean((2, 3))' if turned is output else '.mean((1, 2))'
        if isinstance(output, list | tuple):
            code, output, turned = f'{code}[-1]', output[-1], turned[-1]
        found[code + {4: places, 3: '.mean(1)'}.get(output.dim(), '')] = _vector(turned)
        if output.dim() == 3:
            extra = getattr(model, 'num_prefix_tokens', 0)
            found[f'{code}[:, 0]'] = output[:, 0]
            found[f'{code}[:, {extra}:].mean(1)'] = output[:, extra:].mean(1)
    return found


def _vector(output) -> Tensor:
    from viewplug.backbones import pooled  # here, for it needs mmpretrain, and an export does not

    return pooled(output)


def _equal(features: Tensor, trained: Tensor) -> bool:
    return features.shape == trained.shape and bool((features - trained).abs().max() <= ROUNDING * trained.abs().max())


def _listed(settings: dict) -> str:
    return ', '.join(f'{key}={value!r}' for key, value in settings.items())
