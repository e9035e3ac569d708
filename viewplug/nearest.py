"""The names that a misspelt one may stand for."""

import difflib
from collections.abc import Iterable, Mapping


def near(name: str, names: Iterable, cutoff: float = 0.7, written: Mapping[str, str] | None = None) -> str:
    """', did you mean X or Y?', or nothing.

    Args:
        written: how a name is written where that differs from how it is compared.
    """
    found = difflib.get_close_matches(name, [str(one) for one in names], n=2, cutoff=cutoff)
    found = [(written or {}).get(one, one) for one in found]
    return f', did you mean {" or ".join(found)}?' if found else ''
