"""One config's network under another config's views, so that two networks are compared on the same pairs."""

from __future__ import annotations

import copy

from mmengine import Config

from viewplug.config.channel_order import SWITCHES, order_loaded, order_seen
from viewplug.config.model_config import preprocessor_config


def with_views_of(cfg: Config, other: Config) -> Config:
    """The training data and views of ``other``, normalised as ``cfg`` does it, for :class:`..view_pairs.ViewPairs`.

    The network gets the channel order that it was trained on, whichever one ``other``'s data comes in.
    HCL (sec. 3.4) tests MoCo v2 and itself with the same flips, though its second stage has trained without any.

    Raises:
        ValueError: the data of one of them has its channels in an order that is not known.
    """
    borrowed = copy.deepcopy(other)
    settings, own = dict(preprocessor_config(borrowed)), preprocessor_config(cfg)
    switch = next((key for key in SWITCHES if key in settings), SWITCHES[0])
    settings = {key: value for key, value in settings.items() if key not in ('mean', 'std', *SWITCHES)}
    settings |= {key: own[key] for key in ('mean', 'std') if key in own}
    settings[switch] = _to_turn_round(cfg, other)
    (borrowed.get('model') or {}).pop('data_preprocessor', None)
    borrowed.data_preprocessor = settings
    return borrowed


def _to_turn_round(cfg: Config, other: Config) -> bool:
    """Whether ``other``'s data comes in another channel order than the one in which ``cfg``'s network saw its own."""
    used_to, given = order_seen(cfg), order_loaded(other)
    if used_to and given and used_to.source == given.source:
        return used_to.turned != given.turned
    unknown = 'in no order, or in several'
    raise ValueError(
        f'the network has seen channels {used_to or unknown}, and those of the views of the other config come '
        f'{given or unknown}: whether these are one order is not known, and in another the network would be tested on '
        'colours that it has not learnt; take images of one folder for both (--data-root DIR), or views of a config '
        'with the same data set'
    )
