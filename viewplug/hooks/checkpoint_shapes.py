"""What a model does not take from a checkpoint: tensors of another shape there, or all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from viewplug.targets import MomentumTarget

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


class LoadWitness:
    """Notes a model's parameters right before a checkpoint is loaded, to tell afterwards whether any was.

    Torch's count of the changes of each tells it, and not the names in the checkpoint: hooks, ``revise_keys`` and the
    modules themselves set names right on the way.

    Args:
        model: whole on each process, not in shards.
        state: what will be loaded, for the sentence of :meth:`check`.
    """

    def __init__(self, model: nn.Module, state: Mapping[str, object] | None = None) -> None:
        self._model = model
        self._before = _changes(model)
        self._there = next(iter(_source(state or {})), 'nothing')

    @property
    def untouched(self) -> bool:
        """Whether there are parameters, and none was changed since."""
        return bool(self._before) and _changes(self._model) == self._before

    def check(self, said: str) -> None:
        """
        Args:
            said: where the checkpoint comes from, ``load_from=PATH``.

        Raises:
            ValueError: nothing was loaded since.
        """
        if self.untouched:
            here = next(iter(self._before))
            raise ValueError(
                f"{said}: nothing was loaded, because no tensor there has name and shape of one of the model's "
                f'{len(self._before)} parameters ({self._there} there, {here} here); tools/train.py --init finds '
                'weights under other names, or give it the checkpoint of such a model'
            )


def _changes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Which tensor each parameter is, and how often it was changed in place.

    A momentum target's are left out: where a checkpoint lacks them, ``viewplug.Siamese`` copies the online ones.
    """
    target = getattr(model, 'target', None)
    copied = {id(one) for one in target.parameters()} if isinstance(target, MomentumTarget) else set()
    return {name: (id(one), one._version) for name, one in model.named_parameters() if id(one) not in copied}


def _source(state: Mapping[str, object]) -> dict[str, object]:
    return {key.removeprefix('module.'): value for key, value in state.items()}


def _refusals(model: nn.Module, source: dict, names: Iterable[str]) -> list[str]:
    """What the modules that own ``names`` object to in ``source``."""
    messages: list[str] = []
    for owner in dict.fromkeys(name.rpartition('.')[0] for name in names):
        module = model.get_submodule(owner)
        module._load_from_state_dict(dict(source), f'{owner}.' if owner else '', {}, True, [], [], messages)
    return messages
