"""Settings under which the right weights compute something else than they were trained to."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from viewplug.transfer.faults import within
from viewplug.transfer.layouts import RESNET, ROWS
from viewplug.transfer.matching import Match
from viewplug.transfer.recorded import recorded_normalisation, recorded_order
from viewplug.transfer.recorded_backbone import built_backbone

if TYPE_CHECKING:
    from viewplug.transfer.check import Report

DETECTRON2_IS_SILENT = (
    'a file of detectron2 does not say where its bottlenecks have the stride: in its model zoo STRIDE_IN_1X1 is True '
    "(style='caffe', BGR, std of 1), in what MoCo and torchvision convert it is False (style='pytorch', RGB); with the "
    'other one all weights load and the features are wrong'
)


def compare_settings(
    model: nn.Module, module: nn.Module, found: Match, config: dict, path: str, report: Report
) -> None:
    """Add to ``report`` what loads without a complaint and computes something else."""
    pretraining = (config.get('model') or {}).get('backbone') or {}
    resnet = ROWS.get(found.layout) is RESNET
    caffe = _stride_in_1x1(module) if resnet else None
    untold = found.layout == 'detectron2' and not pretraining
    named = 'caffe' if 'caffe' in os.path.basename(path) else 'pytorch'  # as OpenMMLab names its files
    recorded = pretraining.get('style', named)
    if caffe is not None and not untold and caffe != (recorded == 'caffe'):
        here, there = ('caffe', 'pytorch') if caffe else ('pytorch', 'caffe')
        report.errors.append(
            f"style='{here}' puts the stride of a bottleneck on another convolution than the pre-trained network: all "
            f"weights load and the features are wrong. Set style='{there}' (model.{found.module}.style)"
        )
    if found.module == 'backbone':
        if not report.errors:
            report.errors += _other_heads(module, found, pretraining, config.get('default_scope'))
        report.warnings += _other_strides(module, pretraining) if resnet else []
        if caffe is not None and untold:
            report.warnings.append(f"style='{'caffe' if caffe else 'pytorch'}', and {DETECTRON2_IS_SILENT}")
        report.warnings += _other_normalisation(model, recorded_normalisation(config), recorded_order(config))
    report.notes += _norm_notes(module)


def _stride_in_1x1(module: nn.Module) -> bool | None:
    """Whether bottlenecks stride on their first 1x1 convolution; None where none of them strides."""
    for block in module.modules():
        first, second = getattr(block, 'conv1', None), getattr(block, 'conv2', None)
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d) and hasattr(block, 'conv3'):
            strides = first.stride[0], second.stride[0]
            if max(strides) > 1 and first.kernel_size == (1, 1):
                return strides[0] > 1
    return None


def _other_heads(module: nn.Module, found: Match, pretraining: dict, scope: str | None) -> list[str]:
    """Attention heads against those of pre-training, which leave no trace in the weights."""
    mine = _heads(module, found.weights)
    try:
        theirs = _heads(built_backbone(pretraining, scope)) if mine else ()
    except Exception:  # a backbone that cannot be built here says nothing, and its run is no reason to stop this one
        return []
    if all(a == b for a, b in zip(mine, theirs, strict=False)):  # without its last stages a Swin has fewer
        return []
    here, there = (value[0] if len(value) == 1 else value for value in (mine, theirs))
    return [
        f'num_heads={here}, and the pre-trained network has {there}: all weights load and the features are wrong. Set '
        f'num_heads={there} (model.backbone)'
    ]


def _heads(module: nn.Module, loaded: Iterable[str] | None = None) -> tuple[int, ...]:
    """``num_heads`` of the attentions in ``module``, each value once; of ``loaded`` weights alone where given."""
    found = {name: getattr(part, 'num_heads', None) for name, part in module.named_modules()}
    if loaded is not None:  # what fine-tuning adds, such as an adapter's attention, has heads of its own
        found = {name: number for name, number in found.items() if any(within(key, name) for key in loaded)}
    return tuple(dict.fromkeys(number for number in found.values() if isinstance(number, int)))


def _other_strides(module: nn.Module, pretraining: dict) -> list[str]:
    """Stages of OpenMMLab's ResNets that look at another scale; a dilation in a stride's place keeps it."""
    settings = {}
    for key in ('strides', 'dilations'):
        mine, theirs = getattr(module, key, None), pretraining.get(key, _default(type(module), key))
        if not all(isinstance(value, list | tuple) for value in (mine, theirs)):
            return []
        settings[key] = tuple(mine), tuple(theirs)
    here, there = (
        [math.prod(strides[: i + 1]) * dilation for i, dilation in enumerate(dilations)]
        for strides, dilations in zip(*settings.values(), strict=True)
    )
    if all(a == b for a, b in zip(here, there, strict=False)):  # a C4 network has fewer stages
        return []
    (strides, their_strides), (dilations, their_dilations) = settings.values()
    return [
        f'strides={strides} with dilations={dilations}, but pre-training had strides={their_strides} with '
        f'dilations={their_dilations}: all weights load, and layers see other scales than they were trained on'
    ]


def _default(kind: type, argument: str):
    """What ``kind``, or the class that it hands its arguments on to, takes where ``argument`` is not given."""
    parameters = (inspect.signature(base.__init__).parameters.get(argument) for base in kind.__mro__)
    return next((parameter.default for parameter in parameters if parameter), None)


def _other_normalisation(model: nn.Module, recorded: dict, order: str | None) -> list[str]:
    """Mean, std and channel order against those of pre-training."""
    mine = getattr(model, 'data_preprocessor', None)
    warnings = []
    for key, neutral in (('mean', 0.0), ('std', 1.0)):
        value = getattr(mine, key, None)
        if isinstance(mine, nn.Module) and recorded.get(key):
            wanted = torch.tensor(recorded[key], dtype=torch.float32).flatten()
            given = isinstance(value, torch.Tensor)
            value = value.flatten().float().cpu() if given else torch.full_like(wanted, neutral)
            if value.shape != wanted.shape or not torch.allclose(value, wanted, atol=0.05):
                shown = [round(v, 3) for v in value.tolist()] if given else 'None (unless the pipeline normalises)'
                warnings.append(
                    f'data_preprocessor.{key}={shown}, but pre-training had {[round(v, 3) for v in wanted.tolist()]}'
                )
    names = ('_channel_conversion', 'channel_conversion', 'to_rgb')  # mmengine's and mmdet's, mmseg's, mmpretrain's
    swaps = [getattr(mine, name) for name in names if hasattr(mine, name)]
    if swaps and order == 'RGB' and not any(swaps):
        warnings.append(
            'the data preprocessor leaves images as they are loaded, BGR with mmcv, but pre-training saw RGB: set '
            'bgr_to_rgb=True (to_rgb=True in mmpretrain)'
        )
    if swaps and order == 'BGR' and any(swaps):
        warnings.append(
            'the data preprocessor turns images, BGR as mmcv loads them, into RGB, but pre-training saw BGR: set '
            'bgr_to_rgb=False (to_rgb=False in mmpretrain)'
        )
    return warnings


def _norm_notes(module: nn.Module) -> list[str]:
    """Batch norm whose statistics and weights do not go together, as they will be in training."""
    modes = {part: part.training for part in module.modules()}
    module.train()
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    frozen = [part for part in norms if not part.training]
    moving = [part for part in norms if part.training]
    weights_frozen = {part for part in norms if not any(p.requires_grad for p in part.parameters())}
    layers_train = any(p.requires_grad for p in module.parameters())
    for part, mode in modes.items():
        part.training = mode
    notes = []
    if norms and len(frozen) == len(norms) and layers_train:
        notes.append(
            'norm_eval=True: the layers train but batch norm keeps the statistics of pre-training; the transfer '
            'protocols of self-supervised papers train it (norm_eval=False, SyncBN)'
        )
    if any(part in weights_frozen for part in moving):
        notes.append(
            'frozen layers whose batch norm statistics still move: frozen_stages with norm_eval=False, or '
            'norm_cfg.requires_grad=False; what is frozen then drifts'
        )
    return notes
