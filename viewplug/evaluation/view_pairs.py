"""Two views of every image of a config's training data: bare crops, or its augmentation at any strength."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from mmengine import Config
from mmengine.runner import Runner, set_random_seed
from torch import Tensor, nn

from viewplug.config.channel_order import CONVERSIONS
from viewplug.config.model_config import preprocessor_config
from viewplug.config.training_data import leaf_configs
from viewplug.evaluation.stand_ins import without_stand_ins
from viewplug.hooks.box_targets import BoxTargets
from viewplug.registry import MODELS
from viewplug.views import ViewGeometry

CROP = dict(
    interpolation='bilinear',
    backend='cv2',
    max_attempts=10,
    crop_ratio_range=(0.2, 1.0),
    aspect_ratio_range=(3 / 4, 4 / 3),
)
"""What ContrastiveCrop and RandomResizedCrop have in common, with ContrastiveCrop's defaults."""


class ViewPairs:
    """Iterable of (view a, view b, geometry or None), normalised and on a device, in a random order of the images.

    The first two views of the config's MultiView (or BatchViews) are made as in training, but for their strength and,
    unless ``own_crops``, without ContrastiveCrop: its crops are replaced by random resized ones of the same ranges, so
    that networks are compared on the same pairs. Every image that can be read comes once; batches may be smaller.

    Args:
        cfg: a pre-training config, ours or mmpretrain's; it is not changed.
        strength: see :func:`strengthened`; 0 is crop and resize only.
        own_crops: keep ContrastiveCrop.
        seed: of the order and the views. (Views made in loader workers depend on their number too.)

    Attributes:
        asked: images of the batches so far, those that cannot be read among them.
        steps: of :func:`set_view_pairs`.

    Raises:
        ValueError: a negative strength, or no MultiView in the training pipeline.
    """

    def __init__(
        self,
        cfg: Config,
        strength: float = 0.0,
        own_crops: bool = False,
        device: torch.device | str = 'cpu',
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        cfg = copy.deepcopy(cfg)
        self.steps = set_view_pairs(cfg, strength, own_crops)
        set_random_seed(seed)
        self.device, self.seed = device, seed
        settings = preprocessor_config(cfg)
        self.preprocessor: nn.Module = MODELS.build({'type': 'viewplug.ViewsDataPreprocessor', **settings}).to(device)
        given = cfg.train_dataloader
        loader = Runner.build_dataloader(
            dict(
                batch_size=batch_size,
                num_workers=num_workers,
                dataset=given.dataset,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=given.get('collate_fn') or dict(type='default_collate'),
            ),
            seed=seed,
        )
        self.loader = without_stand_ins(loader)
        self.asked = 0

    def restore_boxes(self, checkpoint: dict) -> bool:
        """Give ContrastiveCrop the boxes that were in force when the checkpoint was written, if it has any."""
        state = checkpoint.get('localization')
        return state is not None and BoxTargets(self.loader.dataset, self.preprocessor).restore(state)

    def __len__(self) -> int:
        """Images, those that cannot be read among them."""
        return len(self.loader.dataset)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, ViewGeometry | None]]:
        set_random_seed(self.seed)
        self.asked = 0
        for batch in self.loader:
            self.asked = min(self.asked + self.loader.batch_size, len(self))
            if batch is None:
                continue
            data = self.preprocessor(batch, training=True)
            first, second, *_ = data['inputs']
            geometry = data.get('geometry')
            if geometry is None:
                geometry = ViewGeometry.from_samples(data.get('data_samples'), self.device)
            yield first, second, geometry


def set_view_pairs(cfg: Config, strength: float, own_crops: bool = False) -> list[list[dict]]:
    """Change a config, in place, to two views an image of this strength that say where they were cut.

    Returns:
        The steps of each of the two.
    """
    pipeline = leaf_configs(cfg.train_dataloader.dataset)[0].get('pipeline', [])
    makers = [step for step in pipeline if _name(step) == 'MultiView']
    preprocessor = preprocessor_config(cfg)
    if _name(preprocessor) == 'BatchViews':
        makers = [preprocessor]
        preprocessor.pop('queries', None)
    if len(makers) != 1:
        raise ValueError(
            'view pairs are cut by the one MultiView in train_dataloader.dataset.pipeline, got '
            f'{[_name(step) for step in pipeline]}'
        )
    (maker,) = makers
    counts = [maker['num_views']] if isinstance(maker['num_views'], int) else maker['num_views']
    kinds = [kind for kind, count in zip(maker['transforms'], counts, strict=True) for _ in range(count)]
    pair = (kinds * 2)[:2] if len(kinds) == 1 else kinds[:2]
    maker['transforms'] = [[_recorded(step, own_crops) for step in strengthened(kind, strength)] for kind in pair]
    maker['num_views'] = [1, 1]
    if 'shared_flip' in maker:
        maker['shared_flip'] = min(1, strength * maker['shared_flip'])
    if _name(maker) == 'MultiView':
        maker['type'] = 'viewplug.MultiView'
    for step in pipeline:
        if _name(step) == 'PackInputs':
            step['meta_keys'] = tuple(
                {**dict.fromkeys(step.get('meta_keys', ())), 'sample_idx': 0, 'crop_box': 0, 'flip': 0}
            )
    return maker['transforms']


def strengthened(pipeline: list[dict], strength: float) -> list[dict]:
    """A view's transforms at ``strength`` times the augmentation: 0 leaves crop and resize (and the way to PIL
    and back, which may turn the channels round), 1 changes nothing.

    ColorJitter's ranges are multiplied, as SimCLR's s does (appendix A); what has a probability is applied so much more
    often, never more than always; what has none is applied in this share of the cases, above 1 always.

    Raises:
        ValueError: a negative strength, or one that is no number.
    """
    if not strength >= 0:
        raise ValueError(f'strength must be at least 0 (crop and resize only), got {strength}')
    found = []
    for step in pipeline:
        if _name(step).endswith(('Crop', 'Resize', *CONVERSIONS)):
            found.append(dict(step))
        elif strength > 0:
            found.append(dict(step) if strength == 1 else _scaled(step, strength))
    return found


def _scaled(step: dict, strength: float) -> dict:
    inner = step.get('transforms', ())
    if _name(step) == 'ColorJitter':
        kept = {key: value for key, value in step.items() if key not in ('brightness', 'contrast', 'saturation', 'hue')}
        return kept | {key: _range(step[key], strength, key) for key in step if key not in kept}
    if _name(step) == 'RandomApply' and all(_name(child) == 'ColorJitter' for child in inner):
        return {**step, 'transforms': [_scaled(child, strength) for child in inner]}
    if 'prob' not in step:
        return dict(type='RandomApply', transforms=[step], prob=min(1.0, strength))
    prob = step['prob']
    scaled = [min(1.0, p * strength) for p in prob] if isinstance(prob, list | tuple) else min(1.0, prob * strength)
    return {**step, 'prob': scaled}


def _range(value, strength: float, key: str):
    """A jitter's half width, or its (lowest, highest) factor; hue turns by half a circle at most."""
    if not isinstance(value, list | tuple):
        return min(0.5, value * strength) if key == 'hue' else value * strength
    neutral, low, high = (0, -0.5, 0.5) if key == 'hue' else (1, 0, float('inf'))
    return [min(high, max(low, neutral + (bound - neutral) * strength)) for bound in value]


def _recorded(step: dict, own_crops: bool) -> dict:
    """A crop that says where it cut, and random unless ContrastiveCrop is wanted."""
    name = _name(step)
    if name == 'RandomResizedCrop':
        return {**step, 'type': 'viewplug.RandomResizedCrop'}
    if name == 'ContrastiveCrop' and not own_crops:
        common = {key: step.get(key, default) for key, default in CROP.items()}
        return dict(type='viewplug.RandomResizedCrop', scale=step['scale'], **common)
    return step


def _name(step: dict) -> str:
    kind = step.get('type', '')
    return (kind if isinstance(kind, str) else kind.__name__).split('.')[-1]
