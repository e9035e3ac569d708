"""Which model of timm, torchvision or detectron2 may have certain weights: by the config of the run, else by them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from torch import Tensor

from viewplug.transfer.detectron2_resnet import C4, NARROW, depth_of, resnet_settings

# Blocks of a ResNet's stages, and whether they are bottlenecks -> what both libraries call it.
RESNETS = {
    (2, 2, 2, 2, False): ('resnet18',),
    (3, 4, 6, 3, False): ('resnet34',),
    (3, 4, 6, 3, True): ('resnet50', 'wide_resnet50_2', 'resnext50_32x4d'),
    (3, 4, 23, 3, True): ('resnet101', 'wide_resnet101_2', 'resnext101_32x8d', 'resnext101_64x4d'),
    (3, 8, 36, 3, True): ('resnet152',),
}
DEEP_STEMS = ('d', 'c', 's', 't')  # timm's endings of ResNets whose stem is three convolutions
# Width and depth of a ViT -> its size in timm's names, and its usual number of heads.
VITS = {
    (192, 12): ('tiny', 3),
    (384, 12): ('small', 6),
    (768, 12): ('base', 12),
    (1024, 24): ('large', 16),
    (1280, 32): ('huge', 16),
}
UNUSUAL_HEADS = {'s': 8, 'small': 8, 'mocov3-s': 12, 'mocov3-small': 12}  # of mmpretrain's ``arch``
ACTIVATIONS = dict(ReLU='relu', SiLU='silu', LeakyReLU='leaky_relu')  # other than a ViT's GELU
# In the config of a backbone, what trains it or reads it out, and what would fetch weights.
NOT_THE_NETWORK = re.compile(
    r'type|model_name|init_cfg|pretrained\w*|checkpoint_path|cache_dir|features_only|out_indices|num_classes'
    r'|global_pool|drop\w*|\w+_drop_rate|zero_init_last|query_\w+|mask_token|out'
)


@dataclass(frozen=True)
class Call:
    """How ``library`` builds a model.

    Attributes:
        note: for who builds it.
        unpooled: take timm's pooling away afterwards. mmpretrain's TIMMBackbone does; ``global_pool=''`` from the start
            is the same, but for models that move their last norm behind the pooling.
    """

    library: str
    name: str
    settings: dict
    note: str = ''
    unpooled: bool = False

    def __str__(self) -> str:
        if self.library == 'torchvision':
            return f'torchvision.models.{self.name}()'
        if self.library == 'detectron2':
            return f"detectron2's ResNet ({', '.join(f'{key}: {value}' for key, value in self.settings.items())})"
        settings = ''.join(f', {key}={value!r}' for key, value in self.settings.items())
        return f'timm.create_model({self.name!r}{settings})'


def likely_calls(library: str, weights: dict[str, Tensor], recorded: dict, layout: str | None) -> list[Call]:
    """The models that may fit, the likeliest first.

    Args:
        library: timm, torchvision or detectron2.
        weights: of the backbone, under timm's or torchvision's names where it is a ResNet or a ViT.
        recorded: the backbone in the config of the run, empty where there is none.
        layout: of ``weights``: torchvision (a ResNet), timm (a ViT) or None.
    """
    named = calls_by_name(recorded) if library == 'timm' else []
    if named:
        return named
    if layout == 'timm':
        return _vits(weights, recorded)
    return _resnets(library, weights, recorded) if layout == 'torchvision' else []


def calls_by_name(recorded: dict) -> list[Call]:
    """timm's model that a config names; its ``features_only`` form, where the run had that, comes last."""
    kind = str(recorded.get('type')).rpartition('.')[2]
    if kind not in ('TIMMBackbone', 'QueryViT'):
        return []
    name = str(recorded.get('model_name') or ('vit_small_patch16_224' if kind == 'QueryViT' else ''))
    if not re.fullmatch(r'[\w.-]+', name):  # hf-hub:... would be fetched
        return []
    settings = {k: v for k, v in recorded.items() if v is not None and not NOT_THE_NETWORK.fullmatch(k)}
    settings |= _channels(settings.pop('in_channels', 3))
    plain = Call('timm', name, settings | dict(num_classes=0))
    unpooled = Call('timm', name, settings | dict(num_classes=0, global_pool=''))
    if recorded.get('features_only'):
        levels = dict(out_indices=tuple(recorded['out_indices'])) if recorded.get('out_indices') else {}
        return [plain, unpooled, Call('timm', name, settings | dict(features_only=True, **levels))]
    if kind == 'QueryViT':
        return [plain, unpooled]
    pool = recorded.get('global_pool')
    pooling = dict(global_pool=pool) if pool else {}
    as_wrapped = Call('timm', name, settings | dict(num_classes=0, **pooling), unpooled=True)
    return [as_wrapped] if pool else [unpooled, as_wrapped]


def _resnets(library: str, weights: dict, recorded: dict) -> list[Call]:
    blocks = [len({key.split('.')[1] for key in weights if key.startswith(f'layer{i}.')}) for i in (1, 2, 3, 4)]
    bottleneck = 'layer1.0.conv3.weight' in weights
    if library == 'detectron2':
        return _detectron2s_resnet(weights, recorded, [number for number in blocks if number], bottleneck)
    names = RESNETS.get((*blocks, bottleneck), ())
    if library == 'torchvision':
        return [Call(library, name, {}) for name in names]
    if 'conv1.0.weight' in weights:
        names = [f'{name}{ending}' for name in names[:1] for ending in DEEP_STEMS]
    stem = weights.get('conv1.weight', weights.get('conv1.0.weight'))
    settings = dict(_channels(3 if stem is None else stem.shape[1]), num_classes=0)
    return [Call(library, name, settings) for name in names]


def _detectron2s_resnet(weights: dict, recorded: dict, blocks: list[int], bottleneck: bool) -> list[Call]:
    """One class for all of them."""
    depth = depth_of(blocks, bottleneck)
    if depth is None:
        return []
    settings = resnet_settings(weights, recorded, depth)
    notes = [C4] if 'OUT_FEATURES' in settings else []
    notes += [NARROW] if not bottleneck and settings.get('RES2_OUT_CHANNELS') != 64 else []
    return [Call('detectron2', f'resnet{depth}', settings, '; '.join(notes))]


def _vits(weights: dict, recorded: dict) -> list[Call]:
    width, channels, patch = weights['patch_embed.proj.weight'].shape[:3]
    depth = 1 + max(int(key.split('.')[1]) for key in weights if key.startswith('blocks.'))
    size, usual = VITS.get((width, depth), (None, None))
    heads = _recorded_heads(recorded, usual)
    note = '' if heads else 'num_heads is not in the file: make it that of the pre-training'
    settings = _channels(channels) | _layers(weights, width) | _positions(weights, patch, recorded.get('img_size'))
    if size is None or heads not in (None, usual):
        settings['num_heads'] = heads or max(1, width // 64)
    settings |= _activation(recorded) | dict(num_classes=0)
    if size is None:
        dims = dict(patch_size=patch, embed_dim=width, depth=depth)
        return [Call('timm', 'vit_base_patch16_224', dims | settings, note)]
    kind = f'deit_{size}_distilled' if 'dist_token' in weights else f'vit_{size}'
    other = 14 if size == 'huge' else 16
    own = Call('timm', f'{kind}_patch{patch}_224', settings, note)
    return [own, Call('timm', f'{kind}_patch{other}_224', dict(patch_size=patch, **settings), note)]


def _channels(number: int) -> dict:
    return {} if number == 3 else dict(in_chans=number)


def _recorded_heads(recorded: dict, usual: int | None) -> int | None:
    """A ViT's heads leave no trace in its weights."""
    arch = recorded.get('arch')
    if isinstance(arch, str):
        return UNUSUAL_HEADS.get(arch, usual)
    return arch.get('num_heads') if isinstance(arch, dict) else recorded.get('num_heads')


def _activation(recorded: dict) -> dict:
    """mmpretrain's setting of all blocks, which leaves no trace in the weights either."""
    blocks = recorded.get('layer_cfgs')
    kind = (blocks.get('act_cfg') or {}).get('type') if isinstance(blocks, dict) else None
    return dict(act_layer=ACTIVATIONS[kind]) if kind in ACTIVATIONS else {}


def _layers(weights: dict, width: int) -> dict:
    """Settings other than timm's defaults, by the layers that they make or leave out."""
    block = {key.removeprefix('blocks.0.'): value for key, value in weights.items() if key.startswith('blocks.0.')}
    pool = None if 'cls_token' in weights else ''
    ratio = block['mlp.fc1.weight'].shape[0] / width if 'mlp.fc1.weight' in block else 4
    settings = dict(
        mlp_ratio=None if ratio == 4 else ratio,
        init_values=1e-5 if 'ls1.gamma' in block else None,
        qkv_bias=None if 'attn.qkv.bias' in block else False,
        qk_norm=True if 'attn.q_norm.weight' in block else None,
        pre_norm=True if 'norm_pre.weight' in weights else None,
        class_token=None if 'cls_token' in weights else False,
        global_pool='avg' if 'fc_norm.weight' in weights else pool,
        reg_tokens=weights['reg_token'].shape[1] if 'reg_token' in weights else None,
    )
    return {key: value for key, value in settings.items() if value is not None}


def _positions(weights: dict, patch: int, img_size: int | list | None) -> dict:
    """Image size of the position embedding, and whether it leaves out the class token."""
    if 'pos_embed' not in weights:
        return {}
    tokens = weights['pos_embed'].shape[1]
    extra = sum(weights[key].shape[1] for key in ('cls_token', 'reg_token', 'dist_token') if key in weights)
    side = math.isqrt(max(tokens - extra, 0))
    whole = img_size is not None or side**2 + extra == tokens
    if img_size is None:
        img_size = patch * (side if whole else math.isqrt(tokens))
    settings = {} if img_size == 224 else dict(img_size=img_size)
    return settings if whole else dict(settings, no_embed_class=True)
