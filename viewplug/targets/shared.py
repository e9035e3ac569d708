"""Online and target are the same network, the target with gradient or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from viewplug.encoding import Embeddings
from viewplug.registry import MODELS


@MODELS.register_module()
class SharedTarget(BaseModule):
    """Both sides are the online network, with gradient (SimCLR)."""

    def attach(self, model: nn.Module) -> None:
        """Build what the target needs of its own from the online ``model``; nothing here."""

    def reset(self, model: nn.Module) -> None:
        """Start anew from the online ``model``; nothing here."""

    def update(self, model: nn.Module) -> None:
        """Follow the online ``model``, once before each training forward; nothing here."""

    def embeddings(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        views: Sequence[int],
        online: Embeddings,
        extras: Mapping[str, object] | None = None,
    ) -> Embeddings:
        """Embeddings of ``views``; those that ``online`` has already, of images not masked, are not computed again."""
        masked = {view for view, asked in model.requests('online', extras or {}).items() if 'masks' in asked.extras}
        found = {}
        for view, request in model.requests('target', extras or {}, views).items():
            ready = view not in masked and set(request.branches) <= set(online.get(view, ()))
            found[view] = online[view] if ready else model.encode_views(inputs, {view: request})[view]
        return found


@MODELS.register_module()
class StopGradTarget(SharedTarget):
    """The online network without gradient (SimSiam, arXiv:2011.10566, algorithm 1)."""

    def embeddings(self, *args, **kwargs) -> Embeddings:
        with torch.no_grad():
            found = super().embeddings(*args, **kwargs)
            return {view: {name: z.detach() for name, z in branches.items()} for view, branches in found.items()}
