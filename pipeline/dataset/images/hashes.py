"""The sha256 of the files of many images, with a progress line; a file of several tiles is read once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ....cache.layout import ImageEntry
from ....cache.windows import split_name
from ...machines.progress import progress_line
from .decoding import file_sha256

_THREADS = 4


def hashes_of(folder: Path, images: Sequence[ImageEntry]) -> dict[int, str]:
    """Return the sha256 of the file of each image, by id, "" where it cannot be read."""
    # The name of a tile stands for its file, whose size is then not limited.
    by_file = {split_name(image.file_name)[0]: image.file_name for image in images}
    with (
        progress_line("comparing images", len(by_file)) as progress,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        found = {}
        hashes = pool.map(lambda name: file_sha256(folder / name), by_file.values())
        for file, sha256 in zip(by_file, hashes, strict=True):
            progress.advance()
            found[file] = sha256
    return {image.id: found[split_name(image.file_name)[0]] for image in images}
