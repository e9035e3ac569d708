"""detectron2's ResNet without detectron2: its settings for certain weights, and the network that they make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

# What MODEL.RESNETS has where a config does not say; DEPTH and STRIDE_IN_1X1 are always said.
DEFAULTS = dict(STEM_OUT_CHANNELS=64, RES2_OUT_CHANNELS=256, NUM_GROUPS=1, WIDTH_PER_GROUP=64, RES5_DILATION=1)
NARROW = "detectron2's build_resnet_backbone refuses another RES2_OUT_CHANNELS than 64 at depths 18 and 34"
C4 = 'the backbone of a C4 model, res2 to res4: the res5 of its RoI head starts anew'
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def depth_of(blocks: Sequence[int], bottleneck: bool) -> int | None:
    """Of the ResNet whose stages, or whose first three, have so many blocks; None where detectron2 has none."""
    found = [depth for depth, usual in BLOCKS.items() if tuple(blocks) in (usual, usual[:3])]
    return next((depth for depth in found if (depth >= 50) == bottleneck), None)


def resnet_settings(weights: dict[str, Tensor], recorded: dict, depth: int) -> dict:
    """``MODEL.RESNETS`` for a ResNet of this depth.

    Args:
        weights: under torchvision's names. Widths and groups are read off its first convolutions. Without ``layer4``
            they are the backbone of a C4 model.
        recorded: the backbone in the config of the run, for what leaves no trace in weights.
    """
    stem, inner, out = (
        weights[name].shape if name in weights else None
        for name in ('conv1.weight', 'layer1.0.conv2.weight', 'layer1.0.conv3.weight')
    )
    settings = dict(DEPTH=depth, STRIDE_IN_1X1=recorded.get('style') == 'caffe')
    if not any(name.startswith('layer4.') for name in weights):
        settings['OUT_FEATURES'] = ['res4']
    widths = dict(STEM_OUT_CHANNELS=stem and stem[0])
    if depth < 50:
        widths |= dict(RES2_OUT_CHANNELS=inner and inner[0])
    else:
        widths |= dict(RES2_OUT_CHANNELS=out and out[0], WIDTH_PER_GROUP=inner and inner[1])
        widths |= dict(NUM_GROUPS=inner and inner[0] // inner[1])
        dilated = list(recorded.get('strides') or ())[3:], list(recorded.get('dilations') or ())[3:]
        widths |= dict(RES5_DILATION=2 if dilated == ([1], [2]) else None)
    return settings | {key: value for key, value in widths.items() if value and value != DEFAULTS[key]}


def network(settings: dict) -> nn.Module:
    """What detectron2 computes under ``settings``, of torchvision's blocks and names; gives the last map."""
    from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

    made = DEFAULTS | settings
    channels, out = made['STEM_OUT_CHANNELS'], made['RES2_OUT_CHANNELS']
    stem = nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False)
    layers = OrderedDict(conv1=stem, bn1=nn.BatchNorm2d(channels), relu=nn.ReLU(), maxpool=nn.MaxPool2d(3, 2, 1))
    base_width = 256 * made['WIDTH_PER_GROUP'] / out  # torchvision's, for 64 * out / 256 planes
    last = 3 if 'OUT_FEATURES' in made else 4  # detectron2 builds no stage behind the last that it gives
    for stage, number in enumerate(BLOCKS[made['DEPTH']][:last]):
        dilation = made['RES5_DILATION'] if stage == 3 else 1
        blocks = []
        for stride in _strides(stage, number, dilation):
            shortcut = None
            if channels != out:
                shortcut = nn.Sequential(conv1x1(channels, out, stride), nn.BatchNorm2d(out))
            if made['DEPTH'] < 50:
                blocks.append(BasicBlock(channels, out, stride, shortcut))
            else:
                block = Bottleneck(channels, out // 4, stride, shortcut, made['NUM_GROUPS'], base_width, dilation)
                if made['STRIDE_IN_1X1']:
                    block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
                blocks.append(block)
            channels = out
        layers[f'layer{stage + 1}'] = nn.Sequential(*blocks)
        out *= 2
    return nn.Sequential(layers)


def described(settings: dict) -> str:
    """As lines of a config, all in one."""
    return '; '.join(f'MODEL.RESNETS.{key}: {value}' for key, value in settings.items())


def _strides(stage: int, blocks: int, dilation: int) -> Sequence[int]:
    return [1 if stage == 0 or dilation > 1 else 2] + [1] * (blocks - 1)
