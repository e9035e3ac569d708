"""A backbone beside the model of timm or torchvision that is to load it: the same names and shapes, or a refusal."""

from __future__ import annotations

import contextlib
import importlib
import re
from dataclasses import dataclass, field
from types import ModuleType

import torch
from torch import Tensor, nn

from viewplug.transfer.detectron2_resnet import network
from viewplug.transfer.model_calls import Call, calls_by_name, likely_calls
from viewplug.transfer.same_features import RunFeatures

HEADS = re.compile(
    r'((stem\.)?fc|head|head_dist|classifier|pre_logits|fc_norm|projection_head|decoder\w*)\.|mask_token$'
)

# detectron2 need not be installed: the parts of its ResNet are torchvision's.
BLOCKS_OF = dict(detectron2='torchvision')


@dataclass
class Fit:
    """A model and the weights under its names.

    Attributes:
        call: builds the model.
        weights: of the backbone.
        checked: the library and its version; None where it is not installed, and nothing is verified.
        absent: names of the model's head that ``weights`` lacks.
        misfits: what else is not on both sides, in two shapes, or computed in another way.
        compared: what comparing the features gave.
    """

    call: Call
    weights: dict[str, Tensor]
    checked: str | None = None
    absent: list[str] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    compared: str = ''

    def how_to_load(self, path: str) -> str:
        """A line of Python, with a comment on what its user has to know."""
        lines = [f'model = {self.call}']
        if self.call.unpooled:
            lines.append("model.reset_classifier(0, '')")
        if self.call.library == 'torchvision':
            lines.append('model.fc = torch.nn.Identity()')
        strict = ', strict=False' if self.absent else ''
        lines.append(f'model.load_state_dict(torch.load({path!r}){strict})')
        notes = [f'{", ".join(self.absent)} not in the file: use model.forward_features'] if self.absent else []
        notes += [self.call.note] if self.call.note else []
        unchecked = f'NOT verified, {self.call.library} is not installed here'
        notes.append(f'names and shapes verified with {self.checked}' if self.checked else unchecked)
        notes += [self.compared] if self.compared else []
        return f'{"; ".join(lines)}  # {"; ".join(notes)}'


def fit(library: str, weights: dict[str, Tensor], recorded: dict, layout: str | None, run: RunFeatures) -> Fit:
    """The first model of ``library`` that has the names and shapes of ``weights``, and gives the features of ``run``.

    Args: see :func:`viewplug.transfer.model_calls.likely_calls`.

    Raises:
        ValueError: no model has them, with a sentence on what does not fit.
    """
    weights = {key.removeprefix('timm_model.'): value for key, value in weights.items()}
    if library != 'detectron2' and recorded.get('style') == 'caffe' and 'layer1.0.conv3.weight' in weights:
        raise ValueError(
            f"format {library}: with style='caffe' the 1x1 convolutions have the strides, and {library} has no such "
            'ResNet: the weights would load and the features be wrong; take mmdet, detectron2 or safetensors'
        )
    calls = likely_calls(library, weights, recorded, layout)
    try:
        module = importlib.import_module(BLOCKS_OF.get(library, library))
    except ImportError:
        if not calls:
            raise ValueError(_refusal(library, weights, recorded, layout, run, None)) from None
        # The names of a features_only model are its own, and want no translation.
        call = calls[-1] if 'features_only' in calls[-1].settings else calls[0]
        return Fit(call, {key: value for key, value in weights.items() if not HEADS.match(key)})
    built = ((call, _build(module, call)) for call in calls)
    tried = []
    for call, model in built:
        if model is not None:
            found = _compare(call, model, weights)
            found.misfits += [] if found.misfits else _other_computation(call, recorded)
            found.misfits += [] if found.misfits else _other_features(module, found, run)
            if not found.misfits:
                found.checked = f'{library} {module.__version__}'
                return found
            tried.append(found)
    nearest = min(tried, key=lambda found: len(found.misfits), default=None)
    raise ValueError(_refusal(library, weights, recorded, layout, run, nearest))


def _build(module: ModuleType, call: Call, devices: tuple[str, ...] = ('meta', 'cpu')) -> nn.Module | None:
    for device in devices:  # some models compute while they are built
        # Name and settings are a file's, and models refuse what they do not know each in a way of its own.
        with contextlib.suppress(Exception), torch.device(device):
            if call.library == 'timm':
                model = module.create_model(call.name, **call.settings)
                if call.unpooled:
                    model.reset_classifier(0, '')
                return model
            if call.library == 'detectron2':
                return network(call.settings)
            return getattr(module.models, call.name)()
    return None


def _compare(call: Call, model: nn.Module, weights: dict[str, Tensor]) -> Fit:
    theirs = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if call.library == 'torchvision':
        theirs = {key: shape for key, shape in theirs.items() if not key.startswith('fc.')}
    names = _other_names(theirs)
    mine = {names.get(key, key): value for key, value in weights.items()}
    mine = {key: value for key, value in mine.items() if key in theirs or not HEADS.match(key)}
    # Files of detectron2 have no counters, and load_state_dict() does not ask for them.
    missing = [key for key in theirs if key not in mine and not key.endswith('num_batches_tracked')]
    found = Fit(call, mine, absent=[key for key in missing if HEADS.match(key)])
    found.misfits = [f'{key} is missing' for key in missing if key not in found.absent]
    for key, value in mine.items():
        if key not in theirs:
            found.misfits.append(f'{key} is unknown')
        elif tuple(value.shape) != theirs[key]:
            found.misfits.append(f'{key} is {tuple(value.shape)}, not {theirs[key]}')
    return found


def _other_computation(call: Call, recorded: dict) -> list[str]:
    """timm has ResNets with the shapes of torchvision's that are others: resnetblur50, or output_stride=16."""
    theirs = next(iter(calls_by_name(recorded)), call)
    same = theirs.name.split('.')[0] == call.name and theirs.settings.keys() <= {'num_classes', 'global_pool'}
    return [] if theirs.library == call.library or same else [f'{theirs} computes something else']


def _other_features(module: ModuleType, found: Fit, run: RunFeatures) -> list[str]:
    """What weights do not show: strides, the eps of a norm, an activation. Sets ``compared``."""
    with torch.random.fork_rng(devices=[]):
        model = _build(module, found.call, ('cpu',))
    if model is None:
        found.compared = 'features NOT compared: the model does not build on the CPU'
        return []
    if found.call.library == 'torchvision':
        model.fc = nn.Identity()
    model.load_state_dict(found.weights, strict=False)
    found.compared, difference = run.compare(model, whole=not found.absent)
    return [difference] if difference else []


def _other_names(theirs: dict) -> dict[str, str]:
    """Names in timm's ``features_only`` models (stem_0.weight, model.norm.weight) -> in the whole model, and back."""
    flat = {key.replace('.', '_', 1): key for key in theirs}
    inner = {f'model.{key}': key for key in theirs} | {key.removeprefix('model.'): key for key in theirs}
    return flat | inner | {key: key for key in theirs}


def _refusal(
    library: str, weights: dict, recorded: dict, layout: str | None, run: RunFeatures, nearest: Fit | None
) -> str:
    formats = []
    if library == 'torchvision':
        with contextlib.suppress(ValueError):
            formats = [f'timm ({fit("timm", weights, recorded, layout, run).call})']
    if library == 'detectron2' and calls_by_name(recorded):
        formats = ['timm']
    if layout is None or not calls_by_name(recorded):  # mmdet has no ResNet with the stems of timm
        formats.append('mmdet (for the same module in an OpenMMLab config)')
    formats.append('safetensors (the tensors alone)')
    advice = f'take {" or ".join(formats)}'
    if nearest is None:
        kind = recorded.get('type') or 'network of this file'
        names = ', '.join([*weights][:3])
        return f'format {library}: no model of {library} is known for the {kind} ({names}, ...); {advice}'
    few = '; '.join(nearest.misfits[:4])
    number = f'; {len(nearest.misfits)} in all' if len(nearest.misfits) > 4 else ''
    return f'format {library}: {nearest.call} does not fit ({few}{number}); {advice}'
