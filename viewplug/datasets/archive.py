"""Data sets that come as one archive: look, download if missing, look again."""

from __future__ import annotations

import os
from collections.abc import Callable

import mmengine.dist as dist
from mmpretrain.datasets.utils import download_and_extract_archive


def ensure_files(name: str, root: str, missing: Callable[[], list[str]], url: str, md5: str, download: bool) -> None:
    """Unpack the archive at ``url`` into ``root`` if files are missing; the first process does it, all others wait.

    Args:
        name: of the data set, for the error.
        missing: gives the paths that the data set needs and that are not there.
        md5: of the archive; one that was downloaded before and has it is not downloaded again.

    Raises:
        FileNotFoundError: files are missing and were not, or could not be, downloaded.
    """
    # Every rank decides before the first one begins to write, because the download ends in a barrier.
    if not any(dist.all_gather_object(bool(missing()))):
        return
    reason = 'download=False'
    if download:
        reason = 'process 0 has downloaded it, but not to where this process looks (a disk of its own node?)'
        try:
            if dist.is_main_process():
                download_and_extract_archive(url, root, md5=md5)
        except Exception as error:
            reason = f'the download failed: {" ".join(str(error).split())[:200]}'
        dist.barrier()
    lacking = missing()
    if lacking:
        raise FileNotFoundError(
            f'{name}: {lacking[0]}{f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""} not found ({reason}): '
            f'unpack {url} into {os.path.abspath(root)}, or set data_root to the folder that holds it'
        )
