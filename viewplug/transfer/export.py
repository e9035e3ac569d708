"""A backbone alone, as the library that will use it names and stores it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from viewplug.transfer.card import card_of, sha256_of_file
from viewplug.transfer.checkpoint import RAW_PICKLES, SAFETENSORS, read_checkpoint, weights_of
from viewplug.transfer.how_to_load import how_to_load
from viewplug.transfer.layouts import PYRAMID, ROWS, VIT, rename
from viewplug.transfer.matching import describe, find_backbones, is_momentum
from viewplug.transfer.real_models import HEADS, fit
from viewplug.transfer.recorded import recorded_config
from viewplug.transfer.same_features import RunFeatures
from viewplug.transfer.settings import DETECTRON2_IS_SILENT
from viewplug.transfer.writers import WRITERS

# Format -> its layout of a ResNet and of a ViT; None where the library has none of our kind.
FORMATS = dict(
    mmdet=('torchvision', 'mmpretrain'),
    timm=('torchvision', 'timm'),
    torchvision=('torchvision', None),
    detectron2=('detectron2', None),
    safetensors=('torchvision', 'timm'),
)
VITDET = "timm, which detectron2's ViTDet reads: train.init_checkpoint='OUT.pth?matching_heuristics=True'"
COMPARED = ('timm', 'torchvision', 'detectron2')  # with the network that is to load the file
# What may be kept beside the backbone: its names in the file, online and momentum, and in the export.
KEPT = dict(
    resim=(r'(?:branches\.\w+\.neck|target\.necks\.\w+)\.fpn\.', 'neck.'),
    hcl=(r'(?:branches\.\w+\.neck|target\.necks\.\w+)\.spatial\.', 'hcl_spatial.'),
)


def export(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    format: str,
    momentum: bool = False,
    source: str = 'auto',
    keep: Sequence[str] = (),
) -> dict:
    """Write the backbone of ``checkpoint`` to ``out``, and its card to ``out``.json.

    Args:
        checkpoint: anything that :func:`viewplug.transfer.checkpoint.read_checkpoint` reads.
        format: mmdet (mmseg's and mmpretrain's as well; a ViT for mmpretrain.VisionTransformer), timm, torchvision,
            detectron2 (a ResNet, ``.pkl``) or safetensors.
        momentum: the momentum encoder in place of the online one.
        source: prefix of the backbone in the file; 'auto' finds it.
        keep: 'resim' (the pre-trained pyramid, under ``neck.``, for mmdet, detectron2 and safetensors) or 'hcl' (the
            spatial branch, under ``hcl_spatial.``). Nothing but the backbone by default.

    Returns:
        The card.

    Raises:
        OSError: ``out`` cannot be written.
        ValueError: the file has no such backbone, or the format no place for it; ``out`` is ``checkpoint`` or a folder;
            with timm, torchvision and detectron2, no model of theirs has its names and shapes, or gives its features.
    """
    out = Path(out)
    _check(format, out, keep)
    if out.exists() and os.path.exists(checkpoint) and out.samefile(checkpoint):
        raise ValueError(
            f'{out} is the checkpoint itself, and would be left with its backbone alone: name another file'
        )
    content = read_checkpoint(checkpoint)
    weights = weights_of(content)
    prefix, layout = choose_backbone(weights, momentum, source)
    target = _layout_in(format, layout)
    backbone = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    _check_stem(format, backbone)
    recorded, scope = _recorded_backbone(content)
    run = RunFeatures(recorded, backbone, scope)
    compared = 'torchvision' if target == 'detectron2' else target
    backbone = {rename(key, layout, compared): v for key, v in backbone.items()}
    if target == 'mmpretrain' != layout:
        _check_vit(format, backbone)
    fitted = fit(format, backbone, recorded, compared, run) if format in COMPARED else None
    backbone = fitted.weights if fitted else {key: v for key, v in backbone.items() if not HEADS.match(key)}
    backbone = {rename(key, compared, target): v for key, v in backbone.items()}
    kept = {name: _kept(weights, name, is_momentum(prefix)) for name in keep}
    state = _named(backbone, kept, format)
    card = card_of(checkpoint, content, state)
    card |= dict(format=format, prefix=prefix, momentum=is_momentum(prefix), kept=list(keep), layout=target)
    card['load'] = how_to_load(format, out, card, state, fitted)
    if layout == 'detectron2' and not recorded:
        card['load'] += f'; NOTE: {DETECTRON2_IS_SILENT}'
    partial = out.with_name(f'{out.name}.partial')
    out.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()  # where it cannot be written, torch does not say which file
    try:
        WRITERS[format](state, card, partial)
    except BaseException:
        partial.unlink()
        raise
    partial.replace(out)  # whoever looks for the file finds it whole
    beside = dict(card, file=out.name, file_sha256=sha256_of_file(out))
    out.with_name(f'{out.name}.json').write_text(json.dumps(beside, indent=1) + '\n')
    return beside


def choose_backbone(weights: dict[str, Tensor], momentum: bool = False, source: str = 'auto') -> tuple[str, str | None]:
    """Prefix and layout of the backbone to take: the one with most tensors, online unless ``momentum``.

    Raises:
        ValueError: there is none, with a sentence on what there is.
    """
    found = find_backbones(weights)
    if source != 'auto':
        if source in found:
            return source, found[source]
        if source and any(name.startswith(source) for name in weights):
            return source, None
        raise ValueError(f'nothing under source={source!r}. {describe(weights)}')
    of_kind = [prefix for prefix in found if is_momentum(prefix) == momentum]
    if momentum and not of_kind:
        raise ValueError(f'momentum=True, but there is no momentum encoder. {describe(weights)}')
    candidates = of_kind or list(found)
    if not candidates:
        raise ValueError(f'no backbone found; name its prefix as source. {describe(weights)}')
    size = {prefix: sum(name.startswith(prefix) for name in weights) for prefix in candidates}
    best = max(candidates, key=lambda prefix: (size[prefix], -len(prefix)))
    return best, found[best]


def _recorded_backbone(content: dict) -> tuple[dict, str | None]:
    """The backbone in the config of the run, and the scope of its ``type``."""
    config = recorded_config(content)
    model = config.get('model')
    backbone = model.get('backbone') if isinstance(model, dict) else None
    return backbone if isinstance(backbone, dict) else {}, config.get('default_scope')


def _check(format: str, out: Path, keep: Sequence[str]) -> None:
    if format not in FORMATS:
        raise ValueError(f'format must be one of {", ".join(FORMATS)}, got {format!r}')
    if out.is_dir():
        raise ValueError(f'{out} is a folder: name a file in it')
    ending = dict(detectron2=RAW_PICKLES[0], safetensors=SAFETENSORS).get(format)
    if ending and out.suffix != ending:
        raise ValueError(f'{out}: a file of format {format} ends in {ending}, or its readers do not know it')
    if not ending and out.suffix in (*RAW_PICKLES, SAFETENSORS):
        raise ValueError(f'{out}: a file of format {format} ends in .pth')
    for name in keep:
        if name not in KEPT:
            raise ValueError(f'keep takes {" and ".join(KEPT)}, got {name!r}')
        if format in ('timm', 'torchvision') or (format == 'detectron2' and name == 'hcl'):
            raise ValueError(f'format {format} has no place for {name}; keep it in mmdet or safetensors')


def _layout_in(format: str, layout: str | None) -> str | None:
    rows = ROWS.get(layout)
    if rows is None and format not in ('torchvision', 'detectron2'):
        return None
    target = FORMATS[format][rows is VIT]
    if rows is None or target is None:
        kind = 'a ViT' if rows is VIT else 'this network'
        vit = VITDET if format == 'detectron2' else 'mmdet, timm or safetensors'
        other = vit if rows is VIT else 'mmdet or safetensors, or timm for a model of timm'
        raise ValueError(f'format {format} has no name for {kind}; take {other}')
    return target


def _check_stem(format: str, backbone: Iterable[str]) -> None:
    deep = next((key for key in backbone if re.match(r'(timm_model\.)?conv1\.\d', key)), None)
    if deep and format in ('mmdet', 'detectron2'):
        raise ValueError(
            f"format {format} has no name for timm's deep stem ({deep}, ...); take timm or safetensors, or let "
            'viewplug.InitFromSSL read the checkpoint into the same timm network'
        )


def _check_vit(format: str, backbone: Iterable[str]) -> None:
    """``backbone``: names after the translation; what keeps one of timm's has no place in mmpretrain's ViT."""
    unknown = next((key for key in backbone if re.match(r'(reg_token|norm_pre|fc_norm|attn_pool|blocks)\b', key)), None)
    if unknown:
        raise ValueError(
            f"format {format} is mmpretrain's VisionTransformer for a ViT, and that has no {unknown}; take timm or "
            'safetensors, or let viewplug.InitFromSSL read the checkpoint into viewplug.QueryViT'
        )


def _kept(weights: dict[str, Tensor], name: str, momentum: bool) -> dict[str, Tensor]:
    pattern, target = KEPT[name]
    found = {}
    for key, value in weights.items():
        match = re.match(pattern, key)
        if match and is_momentum(key) == momentum:
            found[target + key.removeprefix(match[0])] = value
    if not found:
        raise ValueError(f'keep={name!r}: the checkpoint has no {"pyramid of ReSim-FPN" if name == "resim" else "HCL"}')
    return found


def _named(backbone: dict, kept: dict[str, dict], format: str) -> dict[str, Tensor]:
    """All tensors under the names that the format has for them."""
    if format == 'detectron2':
        pyramid = {key.removeprefix('neck.'): value for key, value in kept.get('resim', {}).items()}
        backbone = backbone | {rename(key, 'mmdet', 'detectron2', PYRAMID): value for key, value in pyramid.items()}
        return {key: value for key, value in backbone.items() if not key.endswith('num_batches_tracked')}
    if kept:
        backbone = {f'backbone.{key}': value for key, value in backbone.items()}
    for tensors in kept.values():
        backbone |= tensors
    return {key: value.contiguous() for key, value in backbone.items()}
