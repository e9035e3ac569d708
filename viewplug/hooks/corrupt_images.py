"""How many images of the training set could not be read."""

import os
from collections.abc import Iterable

import mmengine.dist as dist
from mmengine.hooks import Hook
from mmengine.runner import Runner

from viewplug.datasets.image_files import printable
from viewplug.datasets.image_folder import ImageFolder
from viewplug.datasets.leaves import leaf_datasets
from viewplug.registry import HOOKS


@HOOKS.register_module()
class CorruptImageHook(Hook):
    """Log the corrupt files that :class:`viewplug.datasets.ImageFolder` replaced, from all workers and ranks.

    One line at the end of an epoch that met new ones, one line at the end of training whatever there was. The full list
    goes to ``corrupt_images.txt`` in the work directory. Only images that were visited can be known to be corrupt.

    Args:
        max_paths (int): How many paths a line names. Defaults to 5.
    """

    priority = 'LOW'

    def __init__(self, max_paths: int = 5):
        if max_paths < 0:
            raise ValueError(f'viewplug.CorruptImageHook: max_paths must not be negative, got {max_paths}')
        self.max_paths = max_paths
        self._known: set[str] = set()

    def after_train_epoch(self, runner: Runner) -> None:
        new = self._gather(runner) - self._known
        if new:
            self._known |= new
            total = sum(len(folder) for folder in self._folders(runner))
            runner.logger.warning(
                f'{len(self._known)} of {total} images could not be read so far and were replaced, {len(new)} of '
                f'them new: {self._some(new)}'
            )
            self._write(runner)

    def after_train(self, runner: Runner) -> None:
        folders = self._folders(runner)
        self._known |= self._gather(runner)
        if not folders:
            return
        total = sum(len(folder) for folder in folders)
        if not self._known:
            runner.logger.info(f'Every image visited could be read (data set of {total}).')
            return
        path = self._write(runner)
        runner.logger.warning(
            f'In all, {len(self._known)} of {total} images could not be read and were replaced: '
            f'{self._some(self._known)} (full list: {printable(path)})'
        )

    def _folders(self, runner: Runner) -> list[ImageFolder]:
        return [leaf for leaf in leaf_datasets(runner.train_dataloader) if isinstance(leaf, ImageFolder)]

    def _gather(self, runner: Runner) -> set[str]:
        mine = [path for folder in self._folders(runner) for path in folder.corrupt_paths]
        return {path for paths in dist.all_gather_object(mine) for path in paths}

    def _some(self, paths: Iterable[str]) -> str:
        paths = sorted(paths)
        named = ', '.join(printable(path) for path in paths[: self.max_paths])
        return f'{named} ...' if len(paths) > self.max_paths else named

    def _write(self, runner: Runner) -> str:
        path = os.path.join(runner.work_dir, 'corrupt_images.txt')
        if dist.is_main_process():
            with open(path, 'w', encoding='utf-8', errors='surrogateescape') as file:
                file.writelines(f'{p}\n' for p in sorted(self._known))
        return path
