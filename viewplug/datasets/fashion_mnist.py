"""Fashion-MNIST from Debian's package, from any folder with its four files, or downloaded by mmpretrain."""

import os
from typing import Literal

import mmengine.dist as dist
import mmpretrain.datasets
import numpy as np
from mmpretrain.datasets.mnist import read_sn3_pascalvincent_tensor

from viewplug.registry import DATASETS

DEBIAN_FOLDER = '/usr/share/datasets/fashion-mnist'  # apt install dataset-fashion-mnist


@DATASETS.register_module()
class FashionMNIST(mmpretrain.datasets.FashionMNIST):
    """Fashion-MNIST (Xiao et al., 2017): 60,000 + 10,000 images of clothes in 10 classes, as three equal channels.

    mmpretrain's class reads unpacked files only, accepts archives only with upstream's checksums (Debian packs them
    anew), chooses the files by ``test_mode`` instead of ``split`` and gives (28, 28) images, which colour transforms
    do not take. A sample here has ``img`` (28, 28, 3) uint8, ``gt_label`` and ``sample_idx``; no loader is needed.

    Args:
        data_root (str | None): A folder with the original files, packed (.gz) or not; mmpretrain downloads them into
            it if they are missing. None means Debian's folder if it is installed, else ``data/fashion_mnist``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        **kwargs: Those of mmpretrain's ``FashionMNIST``, such as ``pipeline``, ``download``, ``indices``.

    Raises:
        FileNotFoundError: The files are neither there nor could they be downloaded.
    """

    def __init__(
        self, data_root: str | os.PathLike | None = None, split: Literal['train', 'test'] = 'train', **kwargs
    ) -> None:
        if data_root is None:
            data_root = DEBIAN_FOLDER if os.path.isdir(DEBIAN_FOLDER) else 'data/fashion_mnist'
        super().__init__(data_root=os.path.expanduser(data_root), split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        # Every rank decides before the first one begins to write, because the download ends in a barrier.
        if any(dist.all_gather_object(None in self._paths())):
            try:
                super().load_data_list()
            except Exception as error:
                raise FileNotFoundError(
                    f'viewplug.FashionMNIST: {os.path.abspath(self.data_prefix["root"])} lacks '
                    f'{" or ".join(name for name, _ in self._files())}, and mmpretrain did not download them '
                    f'({" ".join(str(error).split())[:200]}): run `apt install dataset-fashion-mnist`, or put the '
                    f'four files of https://github.com/zalandoresearch/fashion-mnist there.'
                ) from error
        images, labels = (read_sn3_pascalvincent_tensor(path).numpy() for path in self._paths())
        return [dict(img=image, gt_label=int(label)) for image, label in zip(images, labels, strict=True)]

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        info['img'] = np.repeat(info['img'][..., None], 3, axis=-1)  # on access: a third of the memory
        return info

    def _files(self) -> list[list[str]]:
        return self.train_list if self.split == 'train' else self.test_list

    def _paths(self) -> list[str | None]:
        """The images' and the labels' file of this split, unpacked if there, else packed, else None."""
        paths = []
        for name, _ in self._files():
            packed = os.path.join(self.data_prefix['root'], name)
            paths.append(next((p for p in (packed.removesuffix('.gz'), packed) if os.path.isfile(p)), None))
        return paths
