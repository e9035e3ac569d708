"""In which order a config's images have their channels: as its data comes, and as its network sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import ConfigDict

from viewplug.config.model_config import preprocessor_config
from viewplug.config.training_data import leaf_configs
from viewplug.registry import class_name

GIVE_BGR = ('ShapeScenes', 'TarShards')
GIVE_RGB = ('CIFAR10', 'CIFAR100', 'STL10', 'MNIST', 'FashionMNIST')
"""Data sets that need no loading step, by the order of their channels."""
SWITCHES = ('to_rgb', 'bgr_to_rgb', 'rgb_to_bgr')
"""Arguments of data preprocessors; every one of them turns the channels round, whatever their order is."""
CONVERSIONS = ('NumpyToPIL', 'PILToNumpy', 'ToPIL', 'ToNumpy')
"""mmpretrain's transforms that may turn them round (``to_rgb``, ``to_bgr``)."""
LOADERS = ('LoadImageFromFile', 'LoadImageFromNDArray')
"""mmcv's and its libraries', which give BGR."""
BGR_TO_RGB = [dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy')]
"""Steps behind mmcv's loader: only mmpretrain's way through PIL turns channels round."""


class ChannelOrder(NamedTuple):
    """
    Attributes:
        source: 'BGR', or the data set or loader whose order is not known here.
        turned: whether the channels have been turned round since.
    """

    source: str
    turned: bool = False

    @property
    def known(self) -> str | None:
        """'RGB', 'BGR' or None."""
        return ('RGB' if self.turned else 'BGR') if self.source == 'BGR' else None

    def then(self, turned: Any) -> ChannelOrder:
        """The order after a step that turns them round, or does not."""
        return ChannelOrder(self.source, self.turned != bool(turned))

    def __str__(self) -> str:
        return self.known or f'{"the other way round than " * self.turned}as {self.source} gives them'


def order_loaded(cfg: Mapping[str, Any]) -> ChannelOrder | None:
    """Of the training images when the data preprocessor gets them; None without images, or where they come in several.

    Args:
        cfg: a config, or what a checkpoint records of one.
    """
    leaves = leaf_configs(ConfigDict(cfg.get('train_dataloader') or {}).get('dataset'))
    return _one_of([_order_of(leaf) for leaf in leaves])


def order_seen(cfg: Mapping[str, Any]) -> ChannelOrder | None:
    """Of the training images when the network gets them; None as above."""
    loaded, preprocessor = order_loaded(cfg), preprocessor_config(cfg)
    return loaded and loaded.then(any(preprocessor.get(key) for key in SWITCHES))


def believed_order(cfg: Mapping[str, Any]) -> str | None:
    """'RGB' or 'BGR', in which the network sees the training images; None where the config says nothing of it.

    A data set that is not known is believed to give the order that the data preprocessor's switch is named for, else
    RGB.
    """
    seen, preprocessor = order_seen(cfg), preprocessor_config(cfg)
    if seen and seen.known:
        return seen.known
    if preprocessor.get('rgb_to_bgr'):
        return 'BGR'
    return 'RGB' if seen or preprocessor.get('to_rgb') or preprocessor.get('bgr_to_rgb') else None


def order_drawn(cfg: Mapping[str, Any], said: str | None = None) -> str:
    """'rgb' or 'bgr', in which pictures take the network to see images: ``said``, else as the config says, else RGB."""
    return (said or believed_order(cfg) or 'RGB').lower()


def order_given(dataset: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> str:
    """'RGB' or 'BGR', in which the steps behind loading get the images of a leaf data set's config.

    One that is not known is believed to give what its pipeline and the preprocessor turn into RGB, or into the BGR that
    ``rgb_to_bgr`` is named for.
    """
    loading = [step for step in dataset.get('pipeline') or [] if _name(step).startswith('Load')]
    order, loaded = _order_of({**dataset, 'pipeline': loading}), _order_of(dataset)
    turned = bool(loaded and loaded.turned) != any(preprocessor.get(key) for key in SWITCHES)
    return order.known or ('BGR' if turned != bool(preprocessor.get('rgb_to_bgr')) else 'RGB')


def _order_of(dataset: Mapping[str, Any]) -> ChannelOrder | None:
    name = _name(dataset)
    order = ChannelOrder('BGR', name in GIVE_RGB) if name in (*GIVE_BGR, *GIVE_RGB) else ChannelOrder(name)
    return _after(order, dataset.get('pipeline') or [])


def _after(order: ChannelOrder | None, steps: Sequence) -> ChannelOrder | None:
    for step in steps:
        if not isinstance(step, Mapping):
            continue  # a recorded config has None for what is no literal
        name, inner = _name(step), step.get('transforms')
        if name.startswith('Load') and 'Image' in name:
            order = ChannelOrder('BGR' if name in LOADERS else name)
        elif name in CONVERSIONS:
            order = order and order.then(step.get('to_rgb') or step.get('to_bgr'))
        elif isinstance(inner, list | tuple) and inner:
            nested = any(isinstance(kind, list | tuple) for kind in inner)  # MultiView has one list a kind of view
            order = _one_of([_after(order, kind or []) for kind in (inner if nested else [inner])])
    return order


def _one_of(orders: Sequence[ChannelOrder | None]) -> ChannelOrder | None:
    return orders[0] if len(set(orders)) == 1 else None


def _name(part: Mapping[str, Any]) -> str:
    kind = part.get('type')
    return class_name(kind if isinstance(kind, type) else str(kind))
