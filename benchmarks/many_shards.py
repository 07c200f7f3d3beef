"""A cache of many shards: opening it, finding the work that is left, random reads, memory.

    python benchmarks/many_shards.py --shards 10000

Each figure comes from a separate process; the cache's files are in the page cache.
"""

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synthetic import make_cache

from fdet.cache.format.header import CacheHeader
from fdet.cache.open_shards import OPEN_SHARDS
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.cache.reader import FeatureCache
from fdet.cache.writer import written_records

LEVELS = PyramidSpec((LevelSpec("c4", 16, 4), LevelSpec("c5", 32, 6)))
SIDE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=12, help="of a shard")
    parser.add_argument("--disk", type=Path, help="where to write; default: the system's own")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        TASKS[arguments.task](arguments.cache)
        return
    with tempfile.TemporaryDirectory(dir=arguments.disk) as folder:
        cache = Path(folder) / "many.fdet"
        started = time.monotonic()
        make_cache(cache, LEVELS, SIDE, arguments.shards * arguments.images, arguments.images)
        print(f"{arguments.shards} shards written in {time.monotonic() - started:.1f} s")
        for task in TASKS:
            command = [sys.executable, __file__, "--task", task, "--cache", str(cache)]
            subprocess.run(command, check=True)


def time_open(root: Path) -> None:
    started = time.monotonic()
    cache = FeatureCache.open(root)
    opened = time.monotonic()
    cache.sample(cache.image_ids[0])
    print(f"open: {opened - started:.2f} s, first sample {time.monotonic() - opened:.2f} s more")


def time_resume(root: Path) -> None:
    header = CacheHeader.read(root)
    started = time.monotonic()
    records = written_records(root, header)
    print(f"resume scan: {time.monotonic() - started:.2f} s for {len(records)} records")


def time_reads(root: Path) -> None:
    """Time reads that each open another shard, the worst case of a full shuffle."""
    cache = FeatureCache.open(root)
    ids = list(cache.image_ids)
    random.Random(0).shuffle(ids)
    ids, peaks = ids[:20_000], []
    for part in (ids[: len(ids) // 4], ids[len(ids) // 4 :]):
        started = time.monotonic()
        for image_id in part:
            cache.sample(image_id)
        seconds = time.monotonic() - started
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(f"{len(part)} random samples: {seconds / len(part) * 1e6:.0f} us each")
    print(
        f"peak memory {peaks[0]:.0f} MiB after the first, {peaks[1]:.0f} MiB after all; at most "
        f"{OPEN_SHARDS} shards are open"
    )


TASKS = {"open": time_open, "resume": time_resume, "reads": time_reads}

if __name__ == "__main__":
    main()
