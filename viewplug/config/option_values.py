"""``--cfg-options KEY=VALUE``: what a value on the command line is."""

from __future__ import annotations

import ast
import re
from argparse import ArgumentError
from typing import Any

from mmengine.config import DictAction

_DICT = re.compile(r"""dict\(|\{\s*['"}\d]""")
"""What looks like a dict as Python writes it, unlike ``{:06d}.jpg``."""


class OptionAction(DictAction):
    """mmengine's DictAction, which also takes dicts, lists and tuples as Python writes them,
    ``KEY="dict(type='X', size=[1, 2])"``, ``KEY="['/data/my images', {'type': 'X'}]"``, and keeps the spaces of a text
    (``KEY='/data/my images'``).

    Raises:
        ArgumentError: no ``=``, brackets that do not match, a dict that is not Python's.
    """

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            if '=' not in value:
                raise ArgumentError(self, f"expected KEY=VALUE, got '{value}'")
        try:
            super().__call__(parser, namespace, values, option_string)
        except ValueError as error:
            raise ArgumentError(self, str(error)) from error

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        text = val.strip()
        if text.startswith(('[', '(', '{', 'dict(')):
            try:
                value = python_value(text)
            except ValueError:
                if _DICT.search(text):
                    raise
            else:
                if isinstance(value, (dict, list, tuple)):  # (1) is a tuple to mmengine
                    return value
        if ',' not in text and not text.startswith(('[', '(')):
            return DictAction._parse_int_float_bool(text.strip('\'"'))
        try:
            return DictAction._parse_iterable(text)
        except AssertionError as error:
            raise ValueError(str(error)) from error
        except RecursionError as error:
            raise ValueError(f'what is {val}? A list or tuple begins with its bracket') from error


class _DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` as ``{'a': 1}``, which ast.literal_eval knows."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = all(keyword.arg for keyword in node.keywords)
        if not (isinstance(node.func, ast.Name) and node.func.id == 'dict' and named and not node.args):
            return node
        keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(keys, [keyword.value for keyword in node.keywords])


def python_value(text: str) -> Any:
    """The value of a Python expression of constants, lists, tuples, ``{...}`` and ``dict(...)``.

    Raises:
        ValueError: anything else.
    """
    try:
        return ast.literal_eval(_DictCalls().visit(ast.parse(text.strip(), mode='eval')).body)
    except (SyntaxError, ValueError, TypeError) as error:
        raise ValueError(
            f"{text} is not a dict as Python writes one, e.g. dict(type='X', size=[1, 2]); texts go in quotes"
        ) from error
