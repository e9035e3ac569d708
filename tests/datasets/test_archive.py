"""An archive that is downloaded once: for all processes that see the folder, and for no others."""

import pytest

from viewplug.datasets import archive


def ensure(download: bool) -> None:
    archive.ensure_files('data', 'data', lambda: ['data/x'], 'http://x', '0', download)


def test_a_process_on_another_node_is_told_that_the_download_is_not_there(monkeypatch):
    monkeypatch.setattr(archive.dist, 'is_main_process', lambda: False)
    with pytest.raises(
        FileNotFoundError, match='data/x not found .process 0 has downloaded it, but not to where this process looks'
    ):
        ensure(download=True)
    with pytest.raises(FileNotFoundError, match='data/x not found .download=False'):
        ensure(download=False)


def test_a_download_that_fails_is_told_with_its_reason(monkeypatch):
    def fails(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(archive, 'download_and_extract_archive', fails)
    with pytest.raises(FileNotFoundError, match='data/x not found .the download failed: no network'):
        ensure(download=True)
