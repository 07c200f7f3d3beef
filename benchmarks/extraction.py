"""Extraction against the same decoding and forward passes with the results thrown away.

    python benchmarks/extraction.py ANNOTATIONS IMAGES --short 480 --long 640

Both run in turn in this process; the figure to quote is the median of the ratios, pair by pair. What the
codec learns from a few images beforehand does not count.
"""

import argparse
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from fdet.cache.codecs.codec import codec_files, codec_of
from fdet.cache.format.header import CacheHeader
from fdet.cache.writer import create_cache
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.dataset.images.canvases import recipe_of, rendered
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.extraction.options import ExtractConfig
from fdet.pipeline.extraction.reuse import Reused
from fdet.pipeline.extraction.writing import write_shards


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(dir=arguments.disk) as folder:
        made = Path(folder) / "made.fdet"
        config = ExtractConfig(
            annotations=arguments.annotations,
            images=arguments.images,
            out=made,
            short=arguments.short,
            long=arguments.long,
            codec=arguments.codec,
            limit=arguments.limit,
            threads=arguments.threads,
            workers=arguments.workers,
        )
        summary = extract(config)
        header = CacheHeader.read(made)
        learnt = codec_files(made, header.key)
        backbone = load_backbone(config.backbone)
        ratios, cpu_ratios, rates = [], [], []
        for number in range(arguments.rounds):
            out = Path(folder) / f"{number}.fdet"
            ours = timed(lambda out=out: write(out, header, learnt, backbone, arguments))
            bare = timed(lambda: forward_only(header, backbone, arguments))
            shutil.rmtree(out)
            ratios.append(ours[0] / bare[0])
            cpu_ratios.append(ours[1] / bare[1])
            rates.append(summary.samples / ours[0])
    print(f"{summary.samples} samples, {summary.bytes / summary.samples / 1e6:.3f} MB each")
    print(f"extraction: {statistics.median(rates):.2f} samples/s")
    print(
        f"wall, extraction / decode + forward: {statistics.median(ratios):.3f} ({spread(ratios)})"
    )
    print(f"CPU, the same: {statistics.median(cpu_ratios):.3f} ({spread(cpu_ratios)})")


def write(
    out: Path,
    header: CacheHeader,
    learnt: Mapping[str, bytes],
    backbone: FrozenBackbone,
    arguments: argparse.Namespace,
) -> None:
    header = create_cache(out, header, b"{}", learnt)
    recipe = recipe_of(header.key, arguments.images)
    codec = codec_of(out, header.key)
    write_shards(
        out, header, header.layout.shards, recipe, backbone, codec, arguments.workers, Reused()
    )


def forward_only(
    header: CacheHeader, backbone: FrozenBackbone, arguments: argparse.Namespace
) -> None:
    recipe = recipe_of(header.key, arguments.images)
    jobs = ((image, (0,)) for image in header.layout.images)
    canvases = rendered(recipe, jobs, arguments.workers)
    while batch := list(islice(canvases, header.key.batch_size)):
        pixels = torch.from_numpy(np.stack([one.pixels[0] for one in batch]))
        backbone(pixels, [one.placements[0].content_hw for one in batch])


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return wall and CPU seconds, including those of worker processes."""
    wall, cpu = time.monotonic(), cpu_seconds()
    work()
    return time.monotonic() - wall, cpu_seconds() - cpu


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def spread(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f} over {len(values)} pairs"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--short", type=int, default=480)
    parser.add_argument("--long", type=int, default=640)
    parser.add_argument("--codec", default=ExtractConfig.__dataclass_fields__["codec"].default)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--disk", type=Path, help="where to write; default: the system's own")
    return parser.parse_args()


if __name__ == "__main__":
    main()
