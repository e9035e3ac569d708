"""The type hints of a component's arguments, held against what a config gives."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

BOOLS = (bool, np.bool_)
NUMBERS = {bool: BOOLS, int: numbers.Integral, float: numbers.Real}
WORDS = {
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'a string',
    dict: 'a dict',
    list: 'a list',
    type(None): 'None',
}


def heed_hints(cls: type) -> type:
    """Make ``cls(...)`` refuse arguments of another kind than the hints of its own ``__init__`` say.

    Python takes any value for any argument: ``eman='no'`` would count as true, ``temperature=True`` as 1, and letters
    of a string as a list of prefixes. Whole numbers pass for numbers and lists for tuples of their length; NaN is no
    number, and a bool none either. What has no hint, or one that is not understood here, passes.

    Returns:
        ``cls`` itself, whose instances then raise a ValueError.
    """
    made = cls.__dict__.get('__init__')
    if not inspect.isfunction(made):
        return cls
    signature = inspect.signature(made)

    @functools.wraps(made)
    def checked(self, *args, **kwargs):
        hints = _hints(made)
        for name, value in _given(signature, self, args, kwargs).items():
            if name in hints and not fits(value, hints[name]):
                raise ValueError(f'{cls.__name__}: {name} must be {in_words(hints[name])}, got {value!r}')
        made(self, *args, **kwargs)

    checked.__signature__ = signature  # for inspect.getfullargspec, which follows no __wrapped__
    cls.__init__ = checked
    return cls


def fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is what a hint says."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if hint in NUMBERS:
        is_nan = hint is float and isinstance(value, numbers.Real) and math.isnan(value)
        return isinstance(value, NUMBERS[hint]) and isinstance(value, BOOLS) == (hint is bool) and not is_nan
    if origin is Callable:
        return callable(value)
    if origin in (Sequence, tuple, list):
        return _fits_sequence(value, parts if origin is tuple and parts[-1] is not ... else parts[0])
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if hint in (Sequence, tuple, list):
        return _is_sequence(value)
    understood = origin is None and hint is not Any and inspect.isclass(hint)
    return isinstance(value, hint) if understood else True


def check_least(who: str, least: float, **values: float | None) -> None:
    """
    Raises:
        ValueError: one of ``values`` lies below ``least``; None passes.
    """
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f'{who}: {name} must be at least {least}, got {value}')


def in_words(hint: Any) -> str:
    """``tuple[float, float] | None`` -> 'a pair, each a number or None'."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return ' or '.join(dict.fromkeys(map(in_words, parts)))
    if origin is typing.Literal:
        return ' or '.join(map(repr, parts))
    if origin is tuple and parts[-1] is not ...:
        return f'{"a pair" if len(parts) == 2 else f"a list of {len(parts)}"}, each {in_words(parts[0])}'
    if origin in (Sequence, tuple, list):
        return f'a list, each entry {in_words(parts[0])}'
    if origin is Callable:
        return 'a function'
    return WORDS.get(hint) or WORDS.get(origin) or getattr(hint, '__name__', str(hint))


def _fits_sequence(value: Any, entries: Any) -> bool:
    """Entries are the hint of each, or a tuple with one hint for each."""
    if not _is_sequence(value):
        return hasattr(value, '__array__')  # NumPy's and torch's, which are not looked into
    if not isinstance(entries, tuple):
        return all(fits(one, entries) for one in value)
    return len(value) == len(entries) and all(map(fits, value, entries))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _given(signature: inspect.Signature, *call: Any) -> Mapping[str, Any]:
    self, args, kwargs = call
    try:
        return signature.bind(self, *args, **kwargs).arguments
    except TypeError:  # which the call itself will say
        return {}


@functools.cache
def _hints(function: Callable) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError:  # a name for type checkers only
        return {}
