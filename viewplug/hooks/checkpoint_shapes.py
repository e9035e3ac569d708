"""Tensors that a model does not take from a checkpoint, because they have another shape or name there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

NUM_NAMED = 3


def tensors_of_another_shape(model: nn.Module, state: Mapping[str, object]) -> str | None:
    """One sentence on how many they are, which and how they differ; None where all fit.

    What a module adapts on the way in, as ViTs do with position embeddings, is not among them. To find that out the
    modules that own such tensors load them, so call this right before ``state`` is loaded for good.
    """
    source = _source(state)
    wanted = model.state_dict()
    shapes = {
        name: (tuple(source[name].shape), tuple(value.shape))
        for name, value in wanted.items()
        if isinstance(value, Tensor) and isinstance(source.get(name), Tensor) and source[name].shape != value.shape
    }
    refusals = ' '.join(_refusals(model, source, shapes))
    kept = [name for name in shapes if f'size mismatch for {name}:' in refusals]
    if not kept:
        return None
    named = '; '.join(f'{name} {shapes[name][0]} there, {shapes[name][1]} here' for name in kept[:NUM_NAMED])
    more = f'; and {len(kept) - NUM_NAMED} more' if len(kept) > NUM_NAMED else ''
    return (
        f"{len(kept)} of the model's {len(wanted)} tensors did not come from the checkpoint, where they have another "
        f'shape: {named}{more}.'
    )


def check_names(model: nn.Module, state: Mapping[str, object], said: str) -> None:
    """
    Args:
        state: what was loaded, as it was behind the hooks that rename tensors.
        said: where it comes from, ``load_from=PATH``.

    Raises:
        ValueError: not one tensor has the name of one of the model's, so that nothing was loaded.
    """
    source, wanted = _source(state), model.state_dict()
    if source.keys().isdisjoint(wanted):
        there, here = next(iter(source), 'nothing'), next(iter(wanted))
        raise ValueError(
            f"{said}: nothing was loaded, because no tensor there has the name of one of the model's {len(wanted)} "
            f'({there} there, {here} here); tools/train.py --init finds weights under other names, or give it the '
            'checkpoint of such a model'
        )


def _source(state: Mapping[str, object]) -> dict[str, object]:
    return {key.removeprefix('module.'): value for key, value in state.items()}


def _refusals(model: nn.Module, source: dict, names: Iterable[str]) -> list[str]:
    """What the modules that own ``names`` object to in ``source``."""
    messages: list[str] = []
    for owner in dict.fromkeys(name.rpartition('.')[0] for name in names):
        module = model.get_submodule(owner)
        module._load_from_state_dict(dict(source), f'{owner}.' if owner else '', {}, True, [], [], messages)
    return messages
