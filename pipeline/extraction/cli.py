"""fdet extract: its options as the command line knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...cache.disk.objects import located
from ..command import defaults_of, echo, opt
from .options import ExtractConfig

_D = defaults_of(ExtractConfig)


def extract_command(
    annotations: Annotated[Path, typer.Argument(help="COCO JSON")],
    images: Annotated[Path, opt("folder below which the images lie")],
    out: Annotated[Path, opt("the cache to make, or to go on with")],
    backbone: Annotated[str, opt("timm's name, or torchvision/resnet50")] = _D["backbone"],
    weights: Annotated[
        str | None, opt("FILE (.safetensors, .pth) or 'random'; default: package, then download")
    ] = _D["weights"],
    size: Annotated[int | None, opt("square canvas: the longer side, px")] = _D["size"],
    short: Annotated[int | None, opt("aspect kept: the shorter side, px")] = _D["short"],
    long: Annotated[int | None, opt("aspect kept: limit of the longer side, px")] = _D["long"],
    levels: Annotated[
        str | None, opt("e.g. c3,c4,c5; default: strides 8, 16, 32, or a plain ViT's last block")
    ] = _D["levels"],
    views: Annotated[
        str,
        opt("plain first; hflip, vflip, scale=0.7..1.4, crop=0.5, joined by +, repeated by xN"),
    ] = _D["views"],
    codec: Annotated[
        str,
        opt(
            "how maps are kept, the finest first: fp32, fp16, bf16, int8, int6, int5, int4; principal "
            "components: int5+pca, or the first 64 of them: int5+pca64"
        ),
    ] = _D["codec"],
    store: Annotated[str, opt("zarr or hdf5")] = _D["store"],
    precision: Annotated[str, opt("of the backbone: fp32, bf16, fp16")] = _D["precision"],
    device: Annotated[str, opt("auto, cpu, cuda, cuda:1")] = _D["device"],
    batch_size: Annotated[
        int | None, opt("samples a backbone pass; default 1 on a CPU, 16 on an accelerator")
    ] = _D["batch_size"],
    workers: Annotated[int, opt("decoding processes; 0: none")] = _D["workers"],
    threads: Annotated[int | None, opt("of torch on a CPU; default: torch's")] = _D["threads"],
    shard_mb: Annotated[int, opt("MiB of uncompressed maps a shard")] = _D["shard_mb"],
    limit: Annotated[int | None, opt("only the first N images")] = _D["limit"],
    seed: Annotated[int, opt("of random views and random weights")] = _D["seed"],
    retry_failed: Annotated[bool, opt("try images again that failed before")] = _D["retry_failed"],
    verify_images: Annotated[
        bool, opt("read every image of finished shards, not only those touched since, for changes")
    ] = _D["verify_images"],
    redo_changed: Annotated[
        bool, opt("make the shards of images that were edited since again, instead of refusing")
    ] = _D["redo_changed"],
    rank: Annotated[
        int | None, opt("this process among --world that fill one cache; default: torchrun, srun")
    ] = _D["rank"],
    world: Annotated[int | None, opt("number of processes that fill the cache")] = _D["world"],
    update: Annotated[
        Path | None, opt("older cache: take over its features of images that have not changed")
    ] = _D["update"],
    calibration: Annotated[
        Path | None,
        opt("of int and pca codecs: take the scales of this cache, so that both read as one"),
    ] = _D["calibration"],
    calibration_images: Annotated[
        int, opt("of int and pca codecs: so many images decide the scales")
    ] = _D["calibration_images"],
    image_vectors: Annotated[
        bool,
        opt(
            "keep the class token of each image too, or what the backbone pools before its classifier"
        ),
    ] = _D["image_vectors"],
    engine: Annotated[
        str, opt("local: this process; ray: workers on the nodes of a cluster (docs/cluster.md)")
    ] = _D["engine"],
    ray_address: Annotated[
        str | None, opt("HOST:PORT, or auto; default: RAY_ADDRESS, or a Ray of this machine's own")
    ] = _D["ray_address"],
    ray_workers: Annotated[
        int | None, opt("at most so many workers; default: as many as there is room for")
    ] = _D["ray_workers"],
    ray_cpus: Annotated[int, opt("that a worker claims, and its --threads")] = _D["ray_cpus"],
    ray_gpus: Annotated[
        float | None, opt("that a worker claims, e.g. 0.5; default: 1 where the cluster has any")
    ] = _D["ray_gpus"],
) -> None:
    """Run the frozen backbone once over a data set and keep its feature maps.

    Exit 0: all there (or, of several processes, this one's part). 3: the cache is whole but some
    images could not be read. 2: bad input.
    """
    out, update = located(out), update and located(update)
    calibration = calibration and located(calibration)
    config = ExtractConfig(**locals())
    from .extract import extract

    summary = extract(config)
    for name, why in list(summary.failed.items())[:20]:
        echo(f"failed: {name}: {why}", err=True)
    if len(summary.failed) > 20:
        echo(f"failed: ... and {len(summary.failed) - 20} more", err=True)
    done = "" if summary.written else " (nothing was left to do)"
    if summary.reused:
        done = f" ({summary.reused} of {summary.written} taken over from {update})"
    echo(
        f"{summary.samples} samples, {summary.bytes / 1e6:.1f} MB, {summary.seconds:.1f} s, "
        f"{summary.out}{done}"
    )
    if summary.missing:
        echo(
            f"{summary.missing} shards belong to other processes and are not there yet; whoever "
            "finishes last completes the cache"
        )
    if summary.failed:
        echo(
            f"{len(summary.failed)} images failed; the cache works without them, --retry-failed "
            "tries them again",
            err=True,
        )
        raise typer.Exit(3)
