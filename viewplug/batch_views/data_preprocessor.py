"""mmpretrain's SelfSupDataPreprocessor that hands on what travels beside the views."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from mmpretrain.models.utils.data_preprocessor import SelfSupDataPreprocessor
from torch import Tensor

from viewplug.registry import MODELS

IMAGES = {'queries', 'patches'}
"""Keys of a batch that are images (..., 3, H, W)."""
ON_HOST = {'data_samples', 'masks', 'sample_idx'}
"""Keys that stay on the CPU: from masks sizes are read, for which a GPU would have to be waited."""


@MODELS.register_module()
class ViewsDataPreprocessor(SelfSupDataPreprocessor):
    """The stock one, same arguments; every other key of the batch becomes an argument of the model's forward.

    ``queries`` (N, Q, 3, p, p) and ``patches`` (N, rows, cols, 3, p, p) are normalised as a view is; ``query_boxes``
    and the like change the device. ``data_samples`` do not: the stock one moves them image by image, and a GPU is
    waited for each time. mmpretrain's models that read masks out of them (BEiT, SimMIM, ...) need the stock one.

    Raises:
        ValueError: a ``std`` that is not above 0. One that looks like that of images in [0, 1] is a warning, and so is
            none at all for images of whole numbers.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._said_raw = self._enable_normalize
        if not self._enable_normalize:
            return
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        if min(std) <= 0:
            raise ValueError(f'data_preprocessor.std must be above 0, got {std}')
        if 0 < max(mean) <= 1 and max(std) < 1:
            print_log(
                f'data_preprocessor: mean={[round(x, 4) for x in mean]} and std={[round(x, 4) for x in std]} look like '
                'those of images in [0, 1], and images come in 0 to 255: multiply both by 255, unless your pipeline '
                'divides.',
                'current',
                logging.WARNING,
            )

    def forward(self, data: dict, training: bool = False) -> dict:
        """
        Args:
            data: ``inputs``, V views (N, 3, H_v, W_v) or one tensor; ``data_samples``; any other keys.

        Returns:
            ``data``, cast and normalised; the keys ``ON_HOST`` as they came.
        """
        data = {'data_samples': None, **self.cast_data(data)}
        views, normalised = data['inputs'], self.normalised
        if training:
            self.warn_of_raw(views)
        inputs = list(map(normalised, views)) if isinstance(views, list) else normalised(views)
        return {**data, 'inputs': inputs, **{key: normalised(data[key]) for key in IMAGES & data.keys()}}

    def normalised(self, images: Tensor) -> Tensor:
        """(..., 3, H, W) -> float32, the channels turned round where a switch asks for it: the stock one's numbers in
        half of its time, and no list of channels that a GPU would be waited for.

        Raises:
            ValueError: images that no ``collate_fn`` has put together; channels to turn round, and not three.
        """
        if not isinstance(images, Tensor):
            raise ValueError(
                'viewplug.ViewsDataPreprocessor takes images in batches (N, 3, H, W), got them one by one in a '
                f"{type(images).__name__}: set collate_fn=dict(type='default_collate') in the data loader"
            )
        if self._channel_conversion:
            if images.shape[-3] != 3:
                raise ValueError(
                    f'data_preprocessor: to_rgb, bgr_to_rgb and rgb_to_bgr are for images of 3 channels, got '
                    f'{tuple(images.shape)}: let the pipeline give three (Grayscale(keep_channels=True)), or leave '
                    'the switch out'
                )
            images = images.flip(-3)
        images = images.float()
        return images.sub(self.mean).div_(self.std) if self._enable_normalize else images

    def warn_of_raw(self, views: Tensor | list) -> None:
        """Once, where nobody normalises: neither ``mean`` and ``std``, nor a pipeline that gives fractions."""
        images = views[0] if isinstance(views, list) else views
        if self._said_raw or getattr(images, 'dtype', None) != torch.uint8:
            return
        self._said_raw = True
        print_log(
            'data_preprocessor: there are no mean and std, so the network reads 0 to 255, and channels as they were '
            'loaded (BGR, by mmcv). Detectors read another range; set data_preprocessor.mean=[123.675, 116.28, '
            '103.53], std=[58.395, 57.12, 57.375] and to_rgb=True.',
            'current',
            logging.WARNING,
        )

    def cast_data(self, data):
        """mmengine's, which leaves the keys ``ON_HOST`` of a batch where they are."""
        if isinstance(data, Mapping):
            return {key: value if key in ON_HOST else self.cast_data(value) for key, value in data.items()}
        return super().cast_data(data)
