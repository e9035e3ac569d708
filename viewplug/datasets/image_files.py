"""Which files are images, which of them lie below a folder, and what is said about the others."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

# What every OpenCV decodes; GIF takes 4.12.
EXTENSIONS = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.ppm', '.pgm', '.tif', '.tiff', '.webp')


class FoundImages(NamedTuple):
    """What :func:`scan_images` finds.

    Attributes:
        images: Paths relative to the folder, unsorted.
        others: How many other files have which extension (lower case).
        twice: Folders, relative, that a link leads to and that are found elsewhere too: their images count twice.
    """

    images: list[str]
    others: Counter
    twice: list[str]


def scan_images(root: str, is_image: Callable[[str], bool]) -> FoundImages:
    """All images below ``root``, hidden ones (a dot in front) left out.

    Reads folders only: no file is opened, and none but symbolic links are stat-ed. A link back to a folder above itself
    is not followed.
    """
    found = FoundImages([], Counter(), [])
    pending, seen = deque([('', _identity(root), (), False)]), set()
    while pending:
        folder, identity, above, repeated = pending.pop()
        if identity in seen and not repeated:  # what is below it is not named again
            found.twice.append(folder.rstrip('/'))
            repeated = True
        seen.add(identity)
        above = (*above, identity)
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                if is_folder(entry):
                    inner = _identity(entry.path)
                    if inner not in above:
                        # Links come last, so that it is they that are named.
                        add = pending.appendleft if entry.is_symlink() else pending.append
                        add((f'{folder}{entry.name}/', inner, above, repeated))
                elif is_image(entry.name):
                    found.images.append(folder + entry.name)
                else:
                    found.others[os.path.splitext(entry.name)[1].lower()] += 1
    return found


def in_words(counts: Counter, most: int = 5) -> str:
    """'8 .gif, 3 without extension', the most frequent first."""
    kinds = [f'{number} {extension or "without extension"}' for extension, number in counts.most_common(most)]
    rest = sum(counts.values()) - sum(number for _, number in counts.most_common(most))
    return ', '.join(kinds + ([f'{rest} others'] if rest else []))


def printable(text: str) -> str:
    r"""A path, or a sentence with paths, in one line that every log can write.

    Names that are not UTF-8 would stop the logger: their bytes become ``\xe9``, line breaks ``\n`` and ``\r``.
    """
    text = text.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')
    return text.replace('\n', '\\n').replace('\r', '\\r')


def is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def nearest_folder(path: str) -> str:
    """``path``, or what exists above it."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def _identity(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
