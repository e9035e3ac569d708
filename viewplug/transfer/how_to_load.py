"""The line of an export that says how its file is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from viewplug.transfer.detectron2_resnet import described
from viewplug.transfer.layouts import RESNET, ROWS, VIT
from viewplug.transfer.real_models import Fit

QUERY_VIT = "viewplug.QueryViT has timm's names, and takes format timm, or the checkpoint with viewplug.InitFromSSL"


def how_to_load(format: str, out: Path, card: dict, names: Iterable[str], fitted: Fit | None = None) -> str:
    """
    Args:
        card: of the export, with ``layout`` and ``kept``.
        names: of the tensors in the file.
        fitted: the model of timm, torchvision or detectron2 that the file is for.
    """
    normalisation = card['normalisation']
    mean, std = normalisation.get('mean', 'not recorded'), normalisation.get('std', 'not recorded')
    order = card['channel_order'] or 'RGB'
    style = (card['backbone'] or {}).get('style', 'pytorch')
    if format == 'detectron2':
        start = (
            f'MODEL.WEIGHTS: {out}; MODEL.PIXEL_MEAN: {mean}; MODEL.PIXEL_STD: {std}; INPUT.FORMAT: {order} (the stem '
            f'sees {order}, its channels are not swapped)'
        )
        return f'{start}; {described(fitted.call.settings)}{_norm_of_pyramid(names)}  # {_compared(fitted)}'
    if format == 'mmdet':
        line = _for_openmmlab(out, card, names, style)
    else:
        line = fitted.how_to_load(str(out)) if fitted else f"safetensors.torch.load_file('{out}')"
    pixels = ' of 0 to 255' if normalisation.get('mean') else ''  # torchvision's and timm's own are of 0 to 1
    return f'{line}; mean={mean}, std={std}, {order}{pixels}'


def _norm_of_pyramid(names: Iterable[str]) -> str:
    if not any(name.startswith('fpn_') for name in names):
        return ''
    norm = 'SyncBN' if any(name.startswith('fpn_') and '.norm.' in name for name in names) else "''"
    return f'; MODEL.FPN.NORM: {norm}, as in pre-training'


def _compared(fitted: Fit) -> str:
    found = fitted.compared or 'NOT verified, torchvision is not installed here'
    if found.startswith('features compared'):
        found = "features compared with those of such a ResNet of torchvision's blocks"
    return f'{found}; {fitted.call.note}' if fitted.call.note else found


def _for_openmmlab(out: Path, card: dict, names: Iterable[str], style: str) -> str:
    start = f"init_cfg=dict(type='Pretrained', checkpoint='{out}'"
    lines = [f'backbone: {start}{", prefix=" + repr("backbone.") if card["kept"] else ""})']
    lines += [f"neck: {start}, prefix='neck.')"] * ('resim' in card['kept'])
    rows = ROWS.get(card['layout'])
    if rows is RESNET:
        lines.append(f'style={style!r}')
    kind = str((card['backbone'] or {}).get('type', ''))
    if rows is not VIT and kind and (rows is None or kind.rpartition('.')[2] not in ('ResNet', 'TIMMBackbone')):
        lines.append(f'for type={kind!r}')
    if rows is VIT:
        kind = (
            'DistilledVisionTransformer' if any(name.endswith('dist_token') for name in names) else 'VisionTransformer'
        )
        scaled = ', layer_scale_init_value=1e-5' if any(name.endswith('.gamma1.weight') for name in names) else ''
        lines.append(f"for type='mmpretrain.{kind}'{scaled} ({QUERY_VIT})")
    return '; '.join(lines)
