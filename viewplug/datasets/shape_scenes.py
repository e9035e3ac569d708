"""The embedded data set: rendered scenes with known classes, boxes and masks, no files."""

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init

from viewplug.registry import DATASETS

from .scene_layout import whole_number
from .scene_renderer import Scene, SceneRenderer


@DATASETS.register_module()
class ShapeScenes(BaseDataset):
    """Objects of ``num_classes`` classes on a few backgrounds that all images share.

    A class is a shape, a texture and a palette ('striped red disc'); size, place, rotation, hue and light vary.
    Objects are small enough that some random crops miss them, so a pair of views can be a true false positive, and
    boxes and masks tell which. Image ``i`` depends on ``seed``, ``split`` and ``i``, not on ``num_images``, and is the
    same bit for bit on every platform.

    A sample enters the pipeline as

    - ``img``: (H, W, 3) uint8, **BGR** as mmcv's ``LoadImageFromFile`` gives it; no loading step is needed,
    - ``img_shape``, ``ori_shape``: (H, W),
    - ``gt_label``: int, the class of the largest object,
    - ``gt_bboxes``: (n, 4) float32, x0, y0, x1, y1 px; ``gt_bboxes_labels``: (n,) int64,
    - ``gt_masks``: (n, H, W) uint8,
    - ``img_id``: the scene's index, also in a subset; ``sample_idx``: the position in this data set.

    Without a Runner, :meth:`render` gives any scene as plain arrays in RGB.

    Args:
        num_images: length of the data set. A longer one starts with the shorter one.
        image_size: height and width, px.
        num_classes: 2 to 96.
        objects_per_image: a number, or the smallest and the largest.
        object_scale: smallest and largest side of an object as a fraction of ``image_size``; the side is the diameter
            of the circle around it.
        seed: of the scenes; classes and backgrounds are the same for every seed.
        split: ``'train'`` or ``'val'``.
        upright: do not rotate objects. Backgrounds and light from above are upright always.
        num_backgrounds: 1 to 12; fewer leave less to tell images apart by than the objects.
        preload: render every image in ``full_init`` and keep them, 4 bytes a pixel, for workers forked from
            this process to share. ``get_subset`` shares them too.
        metainfo: added to ``classes``, the names such as 'striped red disc'.
        **kwargs: ``pipeline``, ``indices``, ``lazy_init``, ``test_mode``, ... of mmengine's ``BaseDataset``.

    Raises:
        ValueError: an argument makes no sense; the message names it.
    """

    METAINFO = dict(dataset_type='ShapeScenes', task_name='Image Classification')

    def __init__(
        self,
        num_images: int = 10_000,
        image_size: int = 96,
        num_classes: int = 12,
        objects_per_image: int | tuple[int, int] = 1,
        object_scale: tuple[float, float] = (0.25, 0.4),
        seed: int = 0,
        split: str = 'train',
        upright: bool = False,
        num_backgrounds: int = 12,
        preload: bool = False,
        metainfo: dict | None = None,
        **kwargs,
    ) -> None:
        self.num_images = whole_number('num_images', num_images, 1)
        self.renderer = SceneRenderer(
            num_classes, image_size, objects_per_image, object_scale, seed, split, upright, num_backgrounds
        )
        self.preload = preload
        self._store = None
        super().__init__(metainfo={'classes': self.renderer.classes, **(metainfo or {})}, **kwargs)

    def render(self, index: int) -> Scene:
        """Scene ``index`` of this seed and split; it need not be smaller than ``num_images``."""
        return self.renderer.render(index)

    def load_data_list(self) -> list[dict]:
        """Numbers and labels only: nothing is rendered."""
        return [dict(img_id=index, gt_label=self.renderer.layout.label(index)) for index in range(self.num_images)]

    def full_init(self) -> None:
        super().full_init()
        if self.preload and self._store is None:
            ids = [self.get_data_info(position)['img_id'] for position in range(len(self))]
            self._store = _SceneStore(self.renderer, ids)

    def prepare_data(self, idx: int):
        """The scene at position ``idx``, through the pipeline."""
        results = self.get_data_info(idx)
        scene = self._store[results['img_id']] if self._store else self.render(results['img_id'])
        results['img'] = np.ascontiguousarray(scene.image[..., ::-1])
        results['img_shape'] = results['ori_shape'] = scene.image.shape[:2]
        results['gt_bboxes'] = scene.boxes
        results['gt_bboxes_labels'] = scene.labels
        results['gt_masks'] = scene.masks
        return self.pipeline(results)

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes of all objects at position ``idx``, for mmengine's ``ClassBalancedDataset``."""
        return [thing.label for thing in self.renderer.layout.plan(self.get_data_info(idx)['img_id']).objects]


class _SceneStore:
    """Rendered scenes in a few flat arrays; the masks of a scene, being disjoint, as one map of object numbers."""

    def __init__(self, renderer: SceneRenderer, ids: list[int]) -> None:
        size, most = renderer.image_size, renderer.layout.objects_per_image[1]
        self.rows = {img_id: row for row, img_id in enumerate(dict.fromkeys(ids))}
        self.images = np.empty((len(self.rows), size, size, 3), np.uint8)
        self.owners = np.zeros((len(self.rows), size, size), np.uint8)
        self.boxes = np.empty((len(self.rows), most, 4), np.float32)
        self.labels = np.full((len(self.rows), most), -1, np.int64)
        for img_id, row in self.rows.items():
            scene = renderer.render(img_id)
            n = len(scene.labels)
            self.images[row] = scene.image
            self.boxes[row, :n], self.labels[row, :n] = scene.boxes, scene.labels
            for k, mask in enumerate(scene.masks):
                self.owners[row][mask > 0] = k + 1

    def __getitem__(self, img_id: int) -> Scene:
        row = self.rows[img_id]
        n = int((self.labels[row] >= 0).sum())
        masks = (self.owners[row] == np.arange(1, n + 1)[:, None, None]).astype(np.uint8)
        return Scene(self.images[row].copy(), self.labels[row, :n].copy(), self.boxes[row, :n].copy(), masks)

    def __deepcopy__(self, memo):
        return self  # read-only: what mmengine copies for a subset shares the pixels
