"""Caches whose digests all hold, because whoever forged them made them again: verify is not fooled."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import zstandard

from fdet.cache.verify import verify

from .cache_attempts import make_good
from .forging import edit_table, forge_frame, forged, level_file, reseal


@pytest.fixture
def root(tmp_path) -> Path:
    """A sound cache, to be forged."""
    make_good(tmp_path / "good")
    (tmp_path / "case").mkdir()
    return forged(tmp_path / "case", "hdf5")


def external_storage(root: Path) -> None:
    """Each level is what another file holds."""
    path = level_file(root)
    with h5py.File(path, "w") as file:
        for name, shape in (("p3", (6, 3, 4, 4)), ("p4", (6, 5, 2, 2))):
            file.create_dataset(name, shape, "f4", external=[("/dev/zero", 0, 2**14)])


def another_size(root: Path) -> None:
    forge_frame(root, zstandard.ZstdCompressor().compress(bytes(5)))


def no_frame(root: Path) -> None:
    forge_frame(root, b"nothing of zstandard's")


def out_of_the_file(root: Path) -> None:
    def far(rows: np.ndarray) -> None:
        rows["chunks"]["offset"] += np.uint64(2**40)

    edit_table(root, far)


def another_sample(root: Path) -> None:
    """The place of one sample is another's, whose checksum it has not."""

    def swap(rows: np.ndarray) -> None:
        rows["chunks"]["offset"][[0, 1]] = rows["chunks"]["offset"][[1, 0]]

    edit_table(root, swap)


@pytest.mark.parametrize(
    "forge", [external_storage, another_size, no_frame, out_of_the_file, another_sample]
)
def test_what_the_reader_would_refuse_is_named(forge, root):
    assert verify(root).sound
    forge(root)
    reseal(root)
    damages = verify(root).damages
    assert damages and all(damage.image_id is not None for damage in damages)
