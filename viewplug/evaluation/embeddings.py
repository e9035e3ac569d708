"""What can be read off a trained network, by name: the backbone, each branch, the parts of a branch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viewplug.encoding import unpacked
from viewplug.evaluation.features import pool
from viewplug.evaluation.localization import encoder_of


@torch.no_grad()
def embed(model: nn.Module, images: Tensor, encoder: str = 'online') -> dict[str, Tensor]:
    """Unit-length embeddings of images, in whatever mode (training, evaluation) the model is.

    Args:
        model: ``viewplug.Siamese``, or any model with a ``backbone`` and perhaps a ``neck`` (mmpretrain's).
        images: (N, 3, H, W), normalised.
        encoder: 'online' or 'target', the momentum copy.

    Returns:
        source -> (N, D) float32: ``backbone``; ``<branch>`` (``neck`` of a model without branches), or
        ``<branch>.<part>`` where a neck has ``parts`` (HCL's ``semantic`` and ``spatial``). Maps and tokens are
        averaged behind the neck. A branch that reads queries is left out: an image alone has none.
    """
    features = encoder_of(model, encoder)(images)
    rows = {'backbone': pool(features)}
    for name, neck in _necks(model, encoder):
        part = features[model.reads[name].entry] if isinstance(features, Mapping) else features
        if isinstance(part, Tensor) and part.dim() == 3 and part is not features:  # tokens are rows for the neck
            embedding = unpacked(neck(part.flatten(0, 1))).unflatten(0, part.shape[:2])
        else:
            embedding = unpacked(neck(part))
        parts = getattr(neck, 'parts', None)
        if parts is None:
            rows[name] = pool(embedding)
        else:
            rows |= {f'{name}.{part}': F.normalize(embedding[:, cut].float(), dim=1) for part, cut in parts.items()}
    return rows


def sources_of(model: nn.Module, encoder: str = 'online') -> list[str]:
    """The names that :func:`embed` gives, without running the network."""
    names = ['backbone']
    for name, neck in _necks(model, encoder):
        parts = getattr(neck, 'parts', None)
        names += [name] if parts is None else [f'{name}.{part}' for part in parts]
    return names


def choose(names: Iterable[str] | None, sources: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Embeddings by name -> the sources that each mixes.

    Args:
        names: sources joined by '+'. A part's bare name (``semantic``) will do where one branch has it, a branch's name
            stands for all its parts. None: every source and, where a branch has parts, all of them mixed.
        sources: of :func:`sources_of`.

    Raises:
        ValueError: a source that the model does not have.
    """
    if names is None:
        branches = dict.fromkeys(source.split('.')[0] for source in sources if '.' in source)
        names = [*sources[1:], *branches, sources[0]]
    return {name: tuple(part for word in name.split('+') for part in _meant(word, sources)) for name in names}


def _meant(word: str, sources: Sequence[str]) -> list[str]:
    if word in sources:
        return [word]
    parts = [source for source in sources if source.startswith(f'{word}.')]
    ending = [source for source in sources if source.endswith(f'.{word}')]
    if not parts and len(ending) != 1:
        raise ValueError(f'the model has no embedding {word!r}; choose from {", ".join(sources)}, joined by +')
    return parts or ending


def _necks(model: nn.Module, encoder: str) -> Iterator[tuple[str, nn.Module]]:
    if hasattr(model, 'necks'):
        necks = model.necks if encoder == 'online' else model.target.necks
        yield from ((name, neck) for name, neck in necks.items() if model.reads[name].entry != 'query')
    elif encoder == 'online' and isinstance(getattr(model, 'neck', None), nn.Module):
        yield 'neck', model.neck
