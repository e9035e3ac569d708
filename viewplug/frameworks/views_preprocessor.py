"""Views and what travels beside them, on the way into the model."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models.utils.data_preprocessor import SelfSupDataPreprocessor
from torch import Tensor

from viewplug.registry import MODELS


@MODELS.register_module()
class ViewsPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's SelfSupDataPreprocessor that lets the keys of ``viewplug.PackViews`` through to the model.

    Args:
        image_keys: which of them are images (..., 3, H, W), to be normalised as ``inputs`` are. Other keys go through
            as they are, to the device.
        **kwargs: ``mean``, ``std``, ``to_rgb``, ``non_blocking``.
    """

    def __init__(self, image_keys: Sequence[str] = ('patches',), **kwargs) -> None:
        super().__init__(**kwargs)
        self.image_keys = tuple(image_keys)

    def forward(self, data: dict, training: bool = False) -> dict:
        """
        Args:
            data: ``inputs`` and ``data_samples`` as the base class takes them, and any other keys.

        Returns:
            The same keys.
        """
        extras = {key: value for key, value in data.items() if key not in ('inputs', 'data_samples')}
        views = super().forward(dict(inputs=data['inputs'], data_samples=data.get('data_samples')), training)
        extras = self.cast_data(extras)
        normalised = {key: self._normalised(value) for key, value in extras.items() if key in self.image_keys}
        return {**extras, **normalised, **views}

    def _normalised(self, images: Tensor) -> Tensor:
        if self._channel_conversion:
            images = images.flip(-3)
        images = images.float()
        return images.sub_(self.mean).div_(self.std) if self._enable_normalize else images
