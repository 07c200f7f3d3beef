"""`fdet cache verify` against reading the same files and doing nothing with them.

    python benchmarks/verifying.py

The files are in the page cache, so this is the maximum that verifying can demand of a disk.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from synthetic import LITE0, make_cache

from fdet.cache.verify import verify

BLOCK = 2**21


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for store in ("zarr", "hdf5"):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "cache"
            make_cache(root, LITE0, 512, arguments.images, 100, store)
            ours, bare, size = [], [], 0
            for _ in range(arguments.rounds):
                started = time.monotonic()
                size = verify(root).bytes
                ours.append(time.monotonic() - started)
                started = time.monotonic()
                read_all(root)
                bare.append(time.monotonic() - started)
        ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
        print(
            f"{store}: {size / statistics.median(ours) / 1e6:.0f} MB/s verified, "
            f"{size / statistics.median(bare) / 1e6:.0f} MB/s read, {ratio:.2f} x"
        )


def read_all(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            offset = 0
            while block := os.pread(descriptor, BLOCK, offset):
                offset += len(block)
            os.close(descriptor)


if __name__ == "__main__":
    main()
