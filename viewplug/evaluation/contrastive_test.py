"""Contrastive testing: how often an image's other view is found in a gallery (HCL, sec. 3.2 and 3.4, fig. 2 and 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from viewplug.evaluation.pca import Projection, fit_pca

CHUNK = 256
"""Queries that are compared with the whole gallery at once."""

Rows = Mapping[str, Tensor]
"""Source -> (N, D_source): what one read-out of a network says of N images."""


class ContrastiveTest:
    """Instance discrimination of a frozen network, streamed over a data set of any size.

    Each image gives a query and a key, the embeddings of its two views. The keys of the last ``gallery_size`` images
    are the gallery, a queue. Principal components are fitted once, on the first full gallery (or on all keys, if there
    are fewer), for each source of its own. Then every query, those of the first gallery too, ranks the gallery, its own
    key among them, by the sum of the sources' cosines: an embedding is centred, projected to the first components and
    normalised, source by source, and each of m sources gets dim / m components.

    The paper gives neither the similarity after PCA nor what a tie is. OUR CHOICES: cosines, as in its equation 2; and
    a key as similar as the right one counts against it, so a network that gives all images one vector finds nothing.

    Memory: both views' embeddings of ``gallery_size`` images until the gallery is full, then its projections.

    Args:
        embeddings: name -> the sources that it mixes, e.g. ``{'both': ('semantic', 'spatial')}``.
        dims: lengths of the whole embedding after PCA; None is the embedding as it comes, neither centred nor cut.
        gallery_size: keys that a query is compared with.
        num_bins: of the views' IoU, equally wide over [0, 1].
        tops: a hit is a rank within the first k; for each k here.

    Attributes:
        latest_ranks: (name, dim) -> ranks of the last images that were tested, 256 at most.

    Raises:
        ValueError: a length that the sources cannot share or do not have, or a gallery too small for it.
    """

    def __init__(
        self,
        embeddings: Mapping[str, Sequence[str]],
        dims: Sequence[int | None] = (64, 96, 128),
        gallery_size: int = 65536,
        num_bins: int = 10,
        tops: Sequence[int] = (1, 5),
    ) -> None:
        for name, value in (('gallery_size', gallery_size), ('num_bins', num_bins)):
            if value < 1:
                raise ValueError(f'contrastive test: {name} must be at least 1, got {value}')
        for name, sources in embeddings.items():
            unfit = [dim for dim in dims if dim is not None and (dim < 1 or dim % len(sources))]
            if unfit:
                raise ValueError(
                    f'contrastive test: dims={unfit} cannot be shared equally by the {len(sources)} sources of {name!r}'
                )
        self.embeddings = {name: tuple(sources) for name, sources in embeddings.items()}
        self.dims, self.gallery_size, self.num_bins, self.tops = tuple(dims), gallery_size, num_bins, tuple(tops)
        self.cells = [(name, dim) for name in self.embeddings for dim in self.dims]
        # One more bin for pairs whose geometry is unknown; columns: pairs, then hits for each k.
        self.counts = {cell: torch.zeros(num_bins + 1, 1 + len(self.tops), dtype=torch.long) for cell in self.cells}
        self.latest_ranks: dict[tuple[str, int | None], Tensor] = {}
        self._held: list[tuple[dict[str, Tensor], dict[str, Tensor], Tensor]] = []
        self._filled = self._pointer = 0
        self._projections: dict[str, Projection] = {}
        self._gallery: dict[tuple[str, int | None], Tensor] = {}

    @torch.no_grad()
    def add(self, queries: Rows, keys: Rows, iou: Tensor | None = None) -> None:
        """Take N more images.

        Args:
            queries, keys: source -> (N, D), of the two views.
            iou: (N,) of the crops in [0, 1], if it is known.
        """
        wanted = dict.fromkeys(source for sources in self.embeddings.values() for source in sources)
        number = len(next(iter(queries.values())))
        iou = torch.full((number,), -1.0) if iou is None else iou
        place = 0
        while place < number:
            filling = not self._gallery
            size = self.gallery_size - self._filled if filling else min(CHUNK, self.gallery_size)
            part = slice(place, place + size)
            piece = tuple({source: rows[source][part].float() for source in wanted} for rows in (queries, keys))
            place += size
            if not filling:
                self._roll(*piece, iou[part])
                continue
            self._held.append((*piece, iou[part]))
            self._filled += len(iou[part])
            if self._filled == self.gallery_size:
                self._open()

    @torch.no_grad()
    def result(self) -> dict:
        """
        Returns:
            name -> dim as text ('full' for None) -> dict(n, top1=dict(hits, accuracy, low, high), top5=..., by_iou=[the
            same, with ``iou`` = (from, to)]); accuracies in percent with 95 % intervals (:func:`wilson_interval`).
        """
        if not self._gallery:
            if not self._held:
                raise ValueError('contrastive test: no image was added, so there is nothing to report')
            self._open()
        found: dict = {name: {} for name in self.embeddings}
        for (name, dim), counts in self.counts.items():
            cell = self._summary(counts.sum(dim=0))
            edges = [(low / self.num_bins, (low + 1) / self.num_bins) for low in range(self.num_bins)]
            if counts[:-1].any():
                bins = zip(edges, counts[:-1], strict=True)
                cell['by_iou'] = [dict(iou=edge, **self._summary(row)) for edge, row in bins]
            found[name]['full' if dim is None else str(dim)] = cell
        return found

    @property
    def gallery_images(self) -> int:
        """How many keys a query is compared with: ``gallery_size``, or all there are."""
        return min(self._filled, self.gallery_size)

    def _open(self) -> None:
        """Fit on the first gallery, fill it, and rank the queries that waited for it."""
        held, self._held = self._held, []
        self.gallery_size = self._filled
        for source in list(held[0][1]):
            keys = torch.cat([piece[1].pop(source) for piece in held])
            needed = self._components(source)
            most = max((dim for dim in needed if dim is not None), default=0)
            if most > min(keys.shape[1], len(keys) - 1):
                raise ValueError(
                    f'contrastive test: {most} components of {source!r} were asked for, but it has {keys.shape[1]} '
                    f'numbers and the gallery {len(keys)} images; ask for fewer dims, or give it more images'
                )
            if most:
                self._projections[source] = fit_pca(keys, most)
            self._gallery.update(self._read({source: keys}))
        slots = torch.arange(self.gallery_size)
        place = 0
        for queries, _, iou in held:
            for start in range(0, len(iou), CHUNK):
                part = slice(start, start + CHUNK)
                size = len(iou[part])
                self._rank(
                    {source: rows[part] for source, rows in queries.items()}, slots[place : place + size], iou[part]
                )
                place += size

    def _roll(self, queries: Rows, keys: Rows, iou: Tensor) -> None:
        slots = (self._pointer + torch.arange(len(iou))) % self.gallery_size
        self._pointer = (self._pointer + len(iou)) % self.gallery_size
        for cell, rows in self._read(keys).items():
            self._gallery[cell][slots.to(rows.device)] = rows
        self._rank(queries, slots, iou)

    def _rank(self, queries: Rows, slots: Tensor, iou: Tensor) -> None:
        read = self._read(queries)
        bins = torch.where(iou < 0, self.num_bins, (iou * self.num_bins).long().clamp(max=self.num_bins - 1)).cpu()
        for name, dim in self.cells:
            sources = self.embeddings[name]
            share = None if dim is None else dim // len(sources)
            similarity = read[sources[0], share] @ self._gallery[sources[0], share].T
            for source in sources[1:]:
                similarity.addmm_(read[source, share], self._gallery[source, share].T)
            rank = ranks(similarity, slots.to(similarity.device)).cpu()
            self.latest_ranks[name, dim] = rank
            outcome = torch.stack([torch.ones_like(rank), *((rank < top).long() for top in self.tops)], dim=1)
            self.counts[name, dim].index_add_(0, bins, outcome)

    def _read(self, rows: Rows) -> dict[tuple[str, int | None], Tensor]:
        """(source, components) -> unit vectors, for every number of components that an embedding asks for."""
        found = {}
        for source, values in rows.items():
            projected = self._projections[source](values) if source in self._projections else None
            for share in self._components(source):
                found[source, share] = F.normalize(values if share is None else projected[:, :share], dim=1)
        return found

    def _components(self, source: str) -> set[int | None]:
        return {
            None if dim is None else dim // len(sources)
            for sources in self.embeddings.values()
            if source in sources
            for dim in self.dims
        }

    def _summary(self, row: Tensor) -> dict:
        number, *hits = row.tolist()
        summary: dict = dict(n=number)
        for top, hit in zip(self.tops, hits, strict=True):
            low, high = wilson_interval(hit, number)
            accuracy = 100 * hit / number if number else None
            summary[f'top{top}'] = dict(hits=hit, accuracy=accuracy, low=100 * low, high=100 * high)
        return summary


def ranks(similarity: Tensor, positives: Tensor) -> Tensor:
    """How many other columns are at least as similar as the right one: (N,), 0 is found first.

    Args:
        similarity: (N, K). Not finite counts as more similar.
        positives: (N,) the right column of each row.
    """
    own = similarity.gather(1, positives[:, None])
    below = (similarity < own).sum(dim=1, dtype=torch.int32)  # int64, the default, takes twice as long
    return similarity.shape[1] - 1 - below.long()


def wilson_interval(hits: int, number: int, z: float = 1.96) -> tuple[float, float]:
    """Confidence interval of a share (Wilson, JASA 1927); z = 1.96 is 95 %. It stays in [0, 1] and is never empty."""
    if number == 0:
        return 0.0, 1.0
    share, spread = hits / number, z * z / number
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / number + spread / (4 * number)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
