"""One config's network under another config's views, so that two networks are compared on the same pairs."""

from __future__ import annotations

import copy

from mmengine import Config

from viewplug.config.model_config import preprocessor_config

NORMALISATION = ('mean', 'std', 'to_rgb', 'bgr_to_rgb', 'rgb_to_bgr')
"""Keys of a data preprocessor that say what numbers a network is used to."""


def with_views_of(cfg: Config, other: Config) -> Config:
    """The training data and views of ``other``, normalised as ``cfg`` does it, for :class:`..view_pairs.ViewPairs`.

    HCL (sec. 3.4) tests MoCo v2 and itself with the same flips, though its second stage has trained without any.
    """
    borrowed = copy.deepcopy(other)
    settings, own = preprocessor_config(borrowed), preprocessor_config(cfg)
    for key in NORMALISATION:
        settings.pop(key, None)
    settings.update({key: own[key] for key in NORMALISATION if key in own})
    return borrowed
