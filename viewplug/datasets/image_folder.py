"""A folder of images as a pre-training data set, corrupt files among them or not."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence

from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset

from viewplug.datasets.corrupt_images import CorruptImagesError, CorruptRecord, Unreadable, load_checked
from viewplug.registry import DATASETS

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.ppm', '.pgm', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """All images below a folder, nested or not, in sorted order; no labels are needed.

    Extensions are compared without case, symbolic links are followed, and names that begin with a dot are ignored. A
    missing folder, or one without images, is an error when the data set is built.

    An image that ``LoadImageFromFile`` cannot read is replaced by the next readable one, so that what a run sees
    depends on the files alone. Every such file is counted once, over all worker processes, and logged; an error in
    another transform, or in a loader of another class, surfaces as it is. With ``test_mode=True``, where features
    must line up with images, nothing is replaced: the failure is an error.

    Corrupt are: empty files, files that are no image, 32-bit float TIFFs (OpenCV does not decode them to colour),
    broken links, and truncated images. For truncated baseline JPEGs OpenCV up to 4.10 returns an image whose missing
    part is grey; they are found here by the missing end marker, in which case Pillow decides (it honours
    ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES``). Grey, palette, 16-bit (divided by 256) and CMYK images become three
    channels of 8 bits; an alpha channel is dropped.

    Args:
        data_root (str): The folder. ``data_prefix`` is joined to it. A remote one (``s3://...``) is listed by
            mmpretrain, and its JPEGs are not checked for truncation.
        with_label (bool): Take the first-level folders as classes, in sorted order. Images that lie directly in the
            folder are then left out, with a warning. Defaults to False.
        extensions (Sequence[str]): What counts as an image.
        max_corrupt (int | float | None): More corrupt files than this are an error. An int is a number of files, a
            float a fraction of the data set (if above 0, one file is always allowed); None sets no limit. Defaults
            to 0.5: a run stops when most of the folder is unreadable.
        **kwargs: Those of mmpretrain's ``CustomDataset``, such as ``pipeline``, ``data_prefix``, ``ann_file`` (a list
            of paths to use instead of a scan), ``indices``.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: An argument is out of its range.
        CorruptImagesError: ``max_corrupt`` is exceeded, every image tried was corrupt, or one was in ``test_mode``.
    """

    def __init__(
        self,
        data_root: str = '',
        with_label: bool = False,
        extensions: Sequence[str] = EXTENSIONS,
        max_corrupt: int | float | None = 0.5,
        **kwargs,
    ):
        if not (data_root or kwargs.get('data_prefix') or kwargs.get('ann_file')):
            raise ValueError(
                f'viewplug.ImageFolder: set data_root to the folder that holds the images, got {data_root!r}'
            )
        if isinstance(extensions, str) or not extensions:
            raise ValueError(f'viewplug.ImageFolder: extensions must be a list such as [".jpg"], got {extensions!r}')
        _check_limit(max_corrupt)
        self.max_corrupt = max_corrupt
        self._record: CorruptRecord | None = None
        extensions = [e if e.startswith('.') else f'.{e}' for e in extensions]
        super().__init__(
            data_root=os.path.expanduser(data_root), with_label=with_label, extensions=extensions, **kwargs
        )

    def full_init(self) -> None:
        super().full_init()
        if self._record is None:
            self._record = CorruptRecord(len(self))

    def get_subset(self, indices: int | Sequence[int]) -> 'ImageFolder':
        subset = super().get_subset(indices)
        subset._record = CorruptRecord(len(subset))  # a subset numbers its images anew
        return subset

    def get_subset_(self, indices: int | Sequence[int]) -> None:
        super().get_subset_(indices)
        self._record = CorruptRecord(len(self))

    @property
    def corrupt_paths(self) -> list[str]:
        """The files that could not be read so far, in any process that shares this data set."""
        indices = self._record.indices() if self._record else []
        return [self.get_data_info(i)['img_path'] for i in indices]

    def prepare_data(self, idx: int) -> dict | None:
        """The first readable image from ``idx`` on, wrapping round, through the pipeline."""
        tries = min(len(self), self.max_refetch + 1)
        for step in range(tries):
            current = (idx + step) % len(self)
            try:
                return self._through_pipeline(self.get_data_info(current))
            except Unreadable as error:
                self._count(current, str(error))
        raise CorruptImagesError(
            f'viewplug.ImageFolder: none of {tries} images in a row can be read, from '
            f'{self.get_data_info(idx % len(self))["img_path"]} to {self.get_data_info(current)["img_path"]}: '
            f'check that the storage is still there.'
        )

    def _through_pipeline(self, results: dict) -> dict | None:
        for transform in self.pipeline.transforms:
            loads = isinstance(transform, LoadImageFromFile)
            results = load_checked(transform, results) if loads else transform(results)
            if results is None:
                return None
        return results

    def _count(self, idx: int, reason: str) -> None:
        path = self.get_data_info(idx)['img_path']
        if self.test_mode:
            raise CorruptImagesError(
                f'viewplug.ImageFolder: {path} cannot be read ({reason}), and test_mode=True replaces no image: '
                f'repair or remove it.'
            )
        if not self._record.add(idx):
            return
        _warn(f'{path} is replaced by the next image: {reason}')
        count = self._record.count()
        limit = self.max_corrupt
        if isinstance(limit, float):
            limit = max(int(limit * len(self)), int(limit > 0))
        if limit is not None and count > limit:
            paths = self.corrupt_paths
            more = f' and {count - 5} more' if count > 5 else ''
            raise CorruptImagesError(
                f'viewplug.ImageFolder: {count} of {len(self)} images cannot be read, and max_corrupt='
                f'{self.max_corrupt} allows {limit}: {", ".join(paths[:5])}{more}; repair or remove them, or raise '
                f'max_corrupt.'
            )

    def _find_samples(self) -> list:
        if '://' in self.img_prefix:
            return super()._find_samples()
        self.extensions = tuple(sorted(self.extensions))  # mmpretrain's come in the order of a set
        root = os.path.abspath(self.img_prefix)
        counted = f'files that count end in {", ".join(self.extensions)}'
        if not os.path.isdir(root):
            state = 'is not a folder' if os.path.exists(root) else 'does not exist'
            raise FileNotFoundError(
                f'viewplug.ImageFolder: {root} {state}, so 0 images were found ({counted}): set data_root to the '
                f'folder that holds the images; the nearest one that exists is {_nearest_folder(root)}.'
            )
        images, others = scan_images(root, self.is_valid_file)
        samples = self._with_classes(root, images) if self.with_label else sorted(images)
        if not samples:
            found = sum(others.values()) + len(images)
            kinds = ', '.join(f'{n} {e or "without extension"}' for e, n in others.most_common(5))
            if images:
                kinds = f'{len(images)} images directly in it, but with_label=True reads first-level folders'
            raise FileNotFoundError(
                f'viewplug.ImageFolder: {root} holds {found} files{f" ({kinds})" if kinds else ""} and no image to '
                f'train on ({counted}): point data_root at the images, or set extensions'
                f'{" or with_label=False" if self.with_label else ""}.'
            )
        return samples

    def _with_classes(self, root: str, images: list[str]) -> list[tuple[str, int]]:
        classes = sorted(e.name for e in os.scandir(root) if not e.name.startswith('.') and _is_folder(e))
        if self.CLASSES is not None and len(self.CLASSES) != len(classes):
            raise ValueError(
                f'viewplug.ImageFolder: classes names {len(self.CLASSES)}, but {root} has {len(classes)} folders.'
            )
        self._metainfo.setdefault('classes', tuple(classes))
        self.folder_to_idx = {name: i for i, name in enumerate(classes)}
        nested = sorted(path.split('/', 1) for path in images if '/' in path)
        if len(nested) < len(images):
            loose = len(images) - len(nested)
            _warn(f'{loose} images directly in {root} have no class and are left out (with_label=True).')
        empty = sorted(set(classes) - {name for name, _ in nested})
        if empty and nested:
            _warn(f'no images in the classes {", ".join(empty)}')
        return [(f'{name}/{rest}', self.folder_to_idx[name]) for name, rest in nested]


def scan_images(root: str, is_image: Callable[[str], bool]) -> tuple[list[str], Counter]:
    """Paths relative to ``root`` of all images below it, unsorted, and how many other files have which extension.

    Reads folders only: no file is opened, and none but symbolic links are stat-ed. A link back to a folder above itself
    is not followed.
    """
    images, others = [], Counter()
    pending = [('', (_identity(root),))]
    while pending:
        folder, above = pending.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                if _is_folder(entry):
                    identity = _identity(entry.path)
                    if identity not in above:
                        pending.append((f'{folder}{entry.name}/', (*above, identity)))
                elif is_image(entry.name):
                    images.append(folder + entry.name)
                else:
                    others[os.path.splitext(entry.name)[1].lower()] += 1
    return images, others


def _warn(text: str) -> None:
    print_log(f'viewplug.ImageFolder: {text}', logger='current', level=logging.WARNING)


def _check_limit(max_corrupt: int | float | None) -> None:
    if max_corrupt is None:
        return
    good = isinstance(max_corrupt, int) and not isinstance(max_corrupt, bool) and max_corrupt >= 0
    if not good and not (isinstance(max_corrupt, float) and 0 <= max_corrupt <= 1):
        raise ValueError(
            f'viewplug.ImageFolder: max_corrupt must be a number of files (int >= 0), a fraction (float in [0, 1]) or '
            f'None, got {max_corrupt!r}'
        )


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def _nearest_folder(path: str) -> str:
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path
