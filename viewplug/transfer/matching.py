"""Which weights of a file belong into a module, under which names and in which shape."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from viewplug.transfer.layouts import family_of, find_layouts, rename, resize_positions

MOMENTUM = re.compile(
    r'(^|\.)(target|target_net|target_encoder|teacher|encoder_k|backbone_k|momentum_\w+|ema|model_ema|ema_state_dict|'
    r'state_dict_ema|ema_model)\.'
)
BACKBONE = re.compile(r'(?:.*\.)?(?:backbone|encoder|encoder_q|encoder_k|trunk)\.')


@dataclass
class Match:
    """What of a file goes into a module.

    Attributes:
        module: dotted name in the model, such as 'backbone'.
        prefix: of the names in the file.
        layout, own_layout: of the file's names and of the module's, None where they are taken as they are.
        weights: name in the module -> tensor of the file, resized where that is due.
        missing: names that the module has and the file has not.
        unexpected: names (as the module would call them) that the file has below the prefix and the module has not.
        surplus: those of ``unexpected`` that belong to a part that the module has: the file's network is deeper.
        mismatched: name in the module -> (shape in the file, shape in the module).
        notes: what was done beside copying.
    """

    module: str
    prefix: str
    layout: str | None
    own_layout: str | None
    weights: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def match(
    name: str, module: nn.Module, weights: dict[str, Tensor], source: str = 'auto', momentum: bool = False
) -> Match:
    """Find ``module`` in a file.

    Args:
        name: what to call the module in messages.
        weights: of the file, see :func:`viewplug.transfer.checkpoint.weights_of`.
        source: prefix of the names in the file; 'auto' takes the one under which most of the module's names are,
            whichever library's layout they have.
        momentum: with 'auto', the momentum copy (target, teacher, key encoder).

    Raises:
        ValueError: nothing of the module is there, with a sentence on what is.
    """
    state = module.state_dict()
    inner, layout = next(iter(find_layouts(state).items()), ('', None))  # mmpretrain.TIMMBackbone has an inner prefix
    wanted = {key.removeprefix(inner): key for key in state if key.startswith(inner)}
    prefixes = _prefixes(weights, wanted, layout)
    if source != 'auto':
        prefixes = {key: n for key, n in prefixes.items() if key[0] in (source, f'module.{source}')}
        if not prefixes:
            raise ValueError(
                f'{name}: the file has nothing that fits under source={source!r}. {describe(weights)}'
                f'{_suggestion(_prefixes(weights, wanted, layout), name)}'
            )
    elif momentum:
        prefixes = {key: n for key, n in prefixes.items() if is_momentum(key[0])}
        if not prefixes:
            raise ValueError(f'{name}: momentum=True, but the file has no momentum copy of it. {describe(weights)}')
    if not prefixes:
        raise ValueError(
            f'{name}: nothing in the file has the names of this {type(module).__name__} (such as {next(iter(state))}): '
            f'another network? {describe(weights)}'
        )
    # The online copy first where both are equally whole.
    (prefix, found_layout), _ = max(
        prefixes.items(), key=lambda item: (item[1], momentum == is_momentum(item[0][0]), -len(item[0][0]))
    )
    found = Match(name, prefix, found_layout, layout)
    if source == 'auto' and not momentum and is_momentum(prefix):
        found.notes.append('the file has no online copy, so this is the momentum one')
    if found_layout != layout:
        found.notes.append(f'{found_layout} names -> {layout} names')
    parts, biases = {key.split('.')[0] for key in wanted if '.' in key}, []
    for key, value in weights.items():
        if key.startswith(prefix):
            target = rename(key.removeprefix(prefix), found_layout, layout)
            if target not in wanted:
                found.unexpected.append(target)
                if _before_norm(module, target):
                    biases.append(target)
                elif target.split('.')[0] in parts:
                    found.surplus.append(target)
                continue
            _place(found, module, wanted[target], value, state[wanted[target]])
    if biases:
        found.notes.append(
            f'{len(biases)} biases of convolutions (such as {biases[0]}) are left out: the norm layers that come new '
            'behind them have shifts of their own'
        )
    found.missing = [key for key in state if key not in found.weights and key not in found.mismatched]
    return found


def is_momentum(prefix: str) -> bool:
    """Whether names with this prefix are those of a moving average."""
    return bool(MOMENTUM.search(prefix))


def find_backbones(weights: Iterable[str]) -> dict[str, str | None]:
    """Prefix -> layout of all backbones in a file, ResNets and ViTs by their names, others by what holds them."""
    found = find_layouts(weights)
    if found:
        return found
    prefixes = (BACKBONE.match(name) for name in weights)
    return dict.fromkeys((match[0] for match in prefixes if match), None)


def describe(weights: Iterable[str]) -> str:
    """One sentence on what a file holds."""
    names = list(weights)
    if not names:
        return 'The file holds no weights.'
    backbones = {prefix: sum(name.startswith(prefix) for name in names) for prefix in find_backbones(names)}
    rest = Counter(
        name.split('.')[0] + '.' * ('.' in name)
        for name in names
        if not any(prefix and name.startswith(prefix) for prefix in backbones)
    )
    parts = ', '.join(f'{prefix!r} ({number})' for prefix, number in backbones.items())
    others = ', '.join(f'{group} ({number})' for group, number in rest.most_common(6))
    if not parts:
        return f'The file has {others} (number of tensors).'
    return f'The file has backbones under {parts}' + (f', and besides {others}.' if others else '.')


def _prefixes(weights: Iterable[str], wanted: Iterable[str], layout: str | None) -> dict[tuple, int]:
    """(prefix in the file, layout) -> how many of the ``wanted`` names are there."""
    counts: Counter = Counter()
    for other in family_of(layout):
        names = {rename(name, layout, other) for name in wanted}
        for key in weights:
            parts = key.split('.')
            for i in range(len(parts)):
                if '.'.join(parts[i:]) in names:
                    counts[(''.join(f'{part}.' for part in parts[:i]), other)] += 1
    most = max(counts.values(), default=0)
    # A lone `weight` or `bn1.bias` fits below almost every module.
    return {key: number for key, number in counts.items() if number >= max(1, most // 2)}


def _place(found: Match, module: nn.Module, key: str, value: Tensor, mine: Tensor) -> None:
    if value.shape != mine.shape and key.endswith('pos_embed') and value.dim() == mine.dim() == 3:
        try:
            grid = _grid(module, mine.shape[1])
            resized = resize_positions(value, mine.shape[1], grid, antialias=_is_timms(module))
        except ValueError as error:
            found.notes.append(str(error))
        else:
            found.notes.append(f'{key} resized from {value.shape[1]} to {mine.shape[1]} tokens')
            value = resized
    if value.shape == mine.shape:
        found.weights[key] = value
    else:
        found.mismatched[key] = (tuple(value.shape), tuple(mine.shape))


def _grid(module: nn.Module, tokens: int) -> tuple[int, int] | None:
    """Rows and columns of a ViT's patches: mmpretrain's, timm's and mmseg's say so each in a way of their own."""
    module = getattr(module, 'timm_model', module)
    candidates = [getattr(module, 'patch_resolution', None), getattr(module.patch_embed, 'grid_size', None)]
    size, patch = getattr(module, 'img_size', None), getattr(module, 'patch_size', None)
    if isinstance(size, tuple | list) and isinstance(patch, int):
        candidates.append(tuple(side // patch for side in size))
    return next((tuple(grid) for grid in candidates if grid and grid[0] * grid[1] <= tokens), None)


def _is_timms(module: nn.Module) -> bool:
    """Whether it is timm's ViT, of which there is none as long as nobody has imported timm."""
    timm = sys.modules.get('timm.models.vision_transformer')
    return timm is not None and isinstance(getattr(module, 'timm_model', module), timm.VisionTransformer)


def _before_norm(module: nn.Module, name: str) -> bool:
    """Whether ``name`` is the bias of a convolution that has a norm layer behind it here, and therefore none."""
    owner, bias, rest = name.rpartition('.conv.bias')
    unit = dict(module.named_modules()).get(owner) if bias and not rest else None
    return isinstance(unit, ConvModule) and unit.with_norm and unit.conv.bias is None


def _suggestion(prefixes: dict[tuple, int], name: str) -> str:
    best = sorted(prefixes, key=lambda key: (-prefixes[key], is_momentum(key[0])))
    return f' For {name} set source={best[0][0]!r}.' if best else ''
