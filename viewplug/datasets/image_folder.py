"""A folder of images as a pre-training data set, corrupt files among them or not."""

import logging
import os
from collections.abc import Sequence

from mmcv.transforms import LoadImageFromFile
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset

from viewplug.datasets.class_folders import number_classes
from viewplug.datasets.corrupt_images import CorruptImagesError, CorruptRecord, Unreadable, check_limit, load_checked
from viewplug.datasets.image_files import EXTENSIONS, FoundImages, in_words, is_folder, printable, scan_images
from viewplug.datasets.path_errors import check_ann_file, no_folder, no_image
from viewplug.registry import DATASETS


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """All images below a folder, nested or not, in sorted order; no labels are needed.

    Extensions are compared without case, symbolic links are followed, and names that begin with a dot are ignored. A
    missing folder, or one without images, is an error when the data set is built; files with other extensions, and
    folders that a link leads to a second time (their images count twice), are counted in one line.

    An image that ``LoadImageFromFile`` cannot read is replaced by the next readable one, so that what a run sees
    depends on the files alone. Every such file is counted once, over all worker processes, and logged; an error in
    another transform, or in a loader of another class, surfaces as it is. With ``test_mode=True``, where features
    must line up with images, nothing is replaced: the failure is an error.

    Corrupt are: empty files, files that are no image, TIFFs of floating point or 32 bits a channel, broken links, and
    truncated images. For truncated baseline JPEGs OpenCV up to 4.10 returns an image whose missing part is grey; they
    are found here by the missing end marker, in which case Pillow decides (it honours
    ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES``). A JPEG that lacks data and has an end marker is taken with its grey part.

    Grey, palette, 16-bit (divided by 256) and CMYK images become three channels of 8 bits; an alpha channel is dropped.
    The orientation in EXIF is followed in JPEG, PNG and TIFF, but OpenCV ignores that of WebP. GIF is not among the
    extensions, since OpenCV before 4.12 does not decode it: later ones give its first frame.

    Args:
        data_root (str): The folder. ``data_prefix`` is joined to it. A remote one (``s3://...``) is listed by
            mmpretrain, and its JPEGs are not checked for truncation.
        with_label (bool): Take the first-level folders as classes, in sorted order, or in that of ``classes`` where
            those are the folders' names. Images that lie directly in the folder are then left out, with a warning.
            Defaults to False.
        extensions (Sequence[str]): What counts as an image.
        max_corrupt (int | float | None): More corrupt files than this are an error. An int is a number of files, a
            float a fraction of the data set (if above 0, one file is always allowed); None sets no limit. Defaults
            to 0.5: a run stops when most of the folder is unreadable.
        **kwargs: Those of mmpretrain's ``CustomDataset``, such as ``pipeline``, ``data_prefix``, ``ann_file`` (a text
            file of paths, one a line, to use instead of a scan), ``indices``.

    Raises:
        FileNotFoundError: There is no such folder, or no image in it.
        ValueError: An argument is out of its range, ``ann_file`` is JSON, or ``classes`` do not fit the folders.
        CorruptImagesError: ``max_corrupt`` is exceeded, every image tried was corrupt, or one was in ``test_mode``.
    """

    def __init__(
        self,
        data_root: str | os.PathLike = '',
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
        check_limit(max_corrupt)
        self.max_corrupt = max_corrupt
        self._record: CorruptRecord | None = None
        self._remarked = CorruptRecord(1)
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
            f'viewplug.ImageFolder: none of {tries} images in a row can be read, from {self._path(idx % len(self))} to '
            f'{self._path(current)}: check that the storage is still there.'
        )

    def _through_pipeline(self, results: dict) -> dict | None:
        for transform in self.pipeline.transforms:
            loads = isinstance(transform, LoadImageFromFile)
            results = load_checked(transform, results, self._remark) if loads else transform(results)
            if results is None:
                return None
        return results

    def _remark(self, text: str) -> None:
        if self._remarked.add(0):
            _warn(text)

    def _count(self, idx: int, reason: str) -> None:
        path = self._path(idx)
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
            paths = [printable(path) for path in self.corrupt_paths[:5]]
            more = f' and {count - 5} more' if count > 5 else ''
            raise CorruptImagesError(
                f'viewplug.ImageFolder: {count} of {len(self)} images cannot be read, and max_corrupt='
                f'{self.max_corrupt} allows {limit}: {", ".join(paths)}{more}; repair or remove them, or raise '
                f'max_corrupt.'
            )

    def _path(self, idx: int) -> str:
        return printable(self.get_data_info(idx)['img_path'])

    def load_data_list(self) -> list[dict]:
        if self.ann_file:
            check_ann_file(self.ann_file, self.is_valid_file, self.with_label)
        return super().load_data_list()

    def _find_samples(self) -> list:
        if '://' in self.img_prefix:
            return super()._find_samples()
        self.extensions = tuple(sorted(self.extensions))  # mmpretrain's come in the order of a set
        root = os.path.abspath(self.img_prefix)
        if not os.path.isdir(root):
            raise no_folder(root, self.extensions)
        found = scan_images(root, self.is_valid_file)
        samples = self._with_classes(root, found.images) if self.with_label else sorted(found.images)
        if not samples:
            raise no_image(root, found, self.extensions, self.with_label)
        self._say_left_out(root, len(samples), found)
        return samples

    def _say_left_out(self, root: str, number: int, found: FoundImages) -> None:
        if not (found.others or found.twice) or not is_main_process():
            return
        parts = [f'{number} images in {root}']
        if found.others:
            parts.append(f'left out: {in_words(found.others, 8)} (extensions={", ".join(self.extensions)})')
        if found.twice:
            names = ', '.join(sorted(found.twice)[:3]) + (' ...' if len(found.twice) > 3 else '')
            parts.append(f'folders reached again by a link, whose images count twice: {len(found.twice)} ({names})')
        _warn('; '.join(parts))

    def _with_classes(self, root: str, images: list[str]) -> list[tuple[str, int]]:
        folders = sorted(e.name for e in os.scandir(root) if not e.name.startswith('.') and is_folder(e))
        self.folder_to_idx = number_classes(folders, self.CLASSES, root, 'viewplug.ImageFolder')
        self._metainfo.setdefault('classes', tuple(folders))
        nested = sorted(path.split('/', 1) for path in images if '/' in path)
        if len(nested) < len(images):
            loose = len(images) - len(nested)
            _warn(f'{loose} images directly in {root} have no class and are left out (with_label=True).')
        empty = sorted(set(folders) - {name for name, _ in nested})
        if empty and nested:
            _warn(f'no images in the classes {", ".join(empty)}')
        return [(f'{name}/{rest}', self.folder_to_idx[name]) for name, rest in nested]


def _warn(text: str) -> None:
    print_log(f'viewplug.ImageFolder: {printable(text)}', logger='current', level=logging.WARNING)
