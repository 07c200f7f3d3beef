"""Caches and runs that benchmarks keep in a folder: made once, and resumed where they were interrupted."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fdet.cache.format.header import CacheHeader
from fdet.cache.format.manifest import Manifest
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.position import read_position


def fdet(*words: object) -> None:
    """Run a command in a separate process until it ends."""
    subprocess.run([sys.executable, "-m", "fdet", *map(str, words)], check=True)


def extracted(out: Path, annotations: Path, images: Path, *words: object) -> Path:
    if not whole(out):
        fdet("extract", annotations, "--images", images, "--out", out, *words)
    return out


def converted(out: Path, source: Path, codec: str, *words: object) -> Path:
    if not whole(out):
        fdet("cache", "convert", source, out, "--codec", codec, *words)
    return out


def trained(
    out: Path, train: Path, val: Path, config: str | None, seed: int, *words: object, every: int = 4
) -> Path:
    """Train a run whose best weights are chosen by `val`, or resume it. config: None for the defaults."""
    state = out / "last.safetensors"
    if not (state.is_file() and read_position(state, RunInfo.read(out)).finished):
        resume: Sequence[str] = ["--resume"] if (out / "run.json").is_file() else []
        settings = ["--set", f"train.seed={seed}", "--set", f"train.eval_every={every}"]
        where = ["--val", val, "--out", out, *(["--config", config] if config else [])]
        fdet("train-heads", train, *where, *settings, *words, *resume)
    return out


def whole(cache: Path) -> bool:
    return (cache / "manifest.json").is_file()


def bits_a_value(cache: Path) -> float:
    """Return the bits per map value: all bytes of a finished cache's shards, without a codec's scales."""
    header = CacheHeader.read(cache)
    manifest = Manifest.read(cache, header)
    assert manifest is not None
    good = (manifest.samples - manifest.failed) / manifest.samples
    values = good * sum(
        len(bucket.images) * len(header.layout.views) * _size(level.shape(bucket.canvas_hw))
        for bucket in header.layout.buckets
        for level in header.key.levels.levels
    )
    return 8 * manifest.stored_bytes / values


def megabytes(cache: Path) -> float:
    return sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 1e6


def _size(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]
