"""fdet extract --engine ray on this machine against plain extraction: the cost of distributing shards.

    python benchmarks/engines.py ANNOTATIONS IMAGES --limit 48 --rounds 2

Both sides run in turn as separate commands, so that the start of Ray and of its workers counts.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median


def extraction(arguments: argparse.Namespace, out: Path, *words: str) -> float:
    """Return the seconds that one command takes."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "fdet", "extract", arguments.annotations]
    command += ["--images", arguments.images, "--out", str(out), "--short", "240", "--long", "320"]
    command += ["--limit", str(arguments.limit), "--shard-mb", "1", "--threads", "1", *words]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations")
    parser.add_argument("images")
    parser.add_argument("--limit", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="fr-", dir="/tmp") as folder:
        os.environ["RAY_TMPDIR"] = folder  # short: sockets lie there
        plain, out = Path(folder) / "plain.fdet", Path(folder) / "ray.fdet"
        for _ in range(arguments.rounds):
            seconds.setdefault("one process", []).append(extraction(arguments, plain))
            for count in arguments.workers:
                words = ("--engine", "ray", "--ray-workers", str(count))
                took = extraction(arguments, out, *words)
                seconds.setdefault(f"Ray, {count} workers", []).append(took)
                assert files(out) == files(plain), "not the same bytes"
    base = median(seconds["one process"])
    for name, found in seconds.items():
        told = ", ".join(f"{x:.1f}" for x in found)
        print(f"{name}: {median(found):.1f} s ({told}), {median(found) / base:.2f}")


if __name__ == "__main__":
    main()
