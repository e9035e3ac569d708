"""What is said where the paths of a folder of images are wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from viewplug.datasets.image_files import FoundImages, in_words, nearest_folder, printable


def no_folder(root: str, extensions: Sequence[str]) -> FileNotFoundError:
    """``root`` is no folder."""
    state = 'is not a folder' if os.path.exists(root) else 'does not exist'
    return FileNotFoundError(
        printable(
            f'viewplug.ImageFolder: {root} {state}, so 0 images were found (files that count end in '
            f'{", ".join(extensions)}): set data_root to the folder that holds the images; the nearest one that exists '
            f'is {nearest_folder(root)}.'
        )
    )


def no_image(root: str, found: FoundImages, extensions: Sequence[str], with_label: bool) -> FileNotFoundError:
    """Nothing of what is below ``root`` is an image to train on."""
    number = sum(found.others.values()) + len(found.images)
    kinds = in_words(found.others)
    if found.images:
        kinds = f'{len(found.images)} images directly in it, but with_label=True reads first-level folders'
    ways = 'point data_root at the images, or set extensions'
    if found.others['.tar']:
        shards = f"dataset=dict(type='viewplug.TarShards', data_root={root!r})"
        ways = f'for images in tar files set {shards} in the config, without a loading step, else {ways}'
    if with_label:
        ways += ' or with_label=False'
    return FileNotFoundError(
        printable(
            f'viewplug.ImageFolder: {root} holds {number} files{f" ({kinds})" if kinds else ""} and no image to train '
            f'on (files that count end in {", ".join(extensions)}): {ways}.'
        )
    )


def check_ann_file(path: str, is_image: Callable[[str], bool], with_label: bool) -> None:
    """Refuse annotations in JSON, whose every line would be taken for the name of an image.

    Raises:
        ValueError: The name ends in '.json', or the first line begins like JSON and does not end in an image's name.
    """
    refused = path.lower().endswith('.json')
    if not refused and os.path.isfile(path):
        with open(path, encoding='utf-8', errors='surrogateescape') as file:
            first = file.readline(1000).strip()
        name = first.rsplit(' ', 1)[0] if with_label else first
        refused = first[:1] in ('{', '[') and not is_image(name)
    if refused:
        line = 'an image, a space and its class number a line' if with_label else 'the path of an image a line'
        raise ValueError(
            printable(
                f'viewplug.ImageFolder: ann_file={path} is JSON, but a text file is wanted, {line}; leave ann_file out '
                'to take every image below data_root'
            )
        )
