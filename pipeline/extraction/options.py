"""The options of an extraction: type, default and help stand at the field and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..command import MACHINE, Device, Threads, argument, cache_opt, opt

CALIBRATION_IMAGES = 32
INPUT, FEATURES, CLUSTER = "Input", "Features", "Several processes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    """Everything that `fdet extract` takes.

    size: the side of a square canvas, px; or short and long: the aspect is kept. batch_size None: 1 on
    a CPU, where the features are then bit for bit those of online training, 16 on an accelerator.
    threads None: as many as torch chooses, or ray_cpus with Ray. update: an older cache whose features are
    taken over for every image that has not changed. calibration: a cache whose codec is taken over;
    otherwise the codec learns from calibration_images images, where it has anything to learn.
    """

    annotations: Annotated[Path, argument("COCO JSON")]
    images: Annotated[Path, opt("folder below which the images lie", group=INPUT)]
    out: Annotated[Path, cache_opt("the cache to make, or to go on with", group=INPUT)]
    views: Annotated[
        str,
        opt(
            "plain first; hflip, vflip, scale=0.7..1.4, crop=0.5, joined by +, repeated by xN",
            group=INPUT,
        ),
    ] = "plain"
    size: Annotated[int | None, opt("square canvas: the longer side, px", group=INPUT)] = None
    short: Annotated[int | None, opt("aspect kept: the shorter side, px", group=INPUT)] = None
    long: Annotated[int | None, opt("aspect kept: limit of the longer side, px", group=INPUT)] = (
        None
    )
    limit: Annotated[int | None, opt("only the first N images", group=INPUT)] = None
    backbone: Annotated[str, opt("timm's name, or torchvision/resnet50", group=FEATURES)] = (
        "tf_efficientnet_lite0"
    )
    weights: Annotated[
        str | None,
        opt(
            "FILE (.safetensors, .pth) or 'random'; default: package, then download",
            group=FEATURES,
        ),
    ] = None
    levels: Annotated[
        str | None,
        opt(
            "e.g. c3,c4,c5; default: strides 8, 16, 32, or a plain ViT's last block",
            group=FEATURES,
        ),
    ] = None
    codec: Annotated[
        str,
        opt(
            "how maps are kept, the finest first: fp32, fp16, bf16, int8, int6, int5, int4; principal "
            "components: int5+pca, or the first 64 of them: int5+pca64",
            group=FEATURES,
        ),
    ] = "int5"
    calibration: Annotated[
        Path | None,
        cache_opt(
            "of int and pca codecs: take the scales of this cache, so that both read as one",
            group=FEATURES,
        ),
    ] = None
    calibration_images: Annotated[
        int, opt("of int and pca codecs: so many images decide the scales", group=FEATURES)
    ] = CALIBRATION_IMAGES
    image_vectors: Annotated[
        bool,
        opt(
            "keep the class token of each image too, or what the backbone pools before its classifier",
            group=FEATURES,
        ),
    ] = False
    seed: Annotated[int, opt("of random views and random weights", group=FEATURES)] = 0
    store: Annotated[str, opt("zarr or hdf5", group=FEATURES)] = "zarr"
    shard_mb: Annotated[int, opt("MiB of uncompressed maps a shard", group=FEATURES)] = 256
    retry_failed: Annotated[bool, opt("try images that failed before once more")] = False
    verify_images: Annotated[
        bool,
        opt("read every image of finished shards, not only those touched since, for changes"),
    ] = False
    redo_changed: Annotated[
        bool, opt("make the shards of images that were edited since anew, instead of refusing")
    ] = False
    update: Annotated[
        Path | None,
        cache_opt("older cache: take over its features of images that have not changed"),
    ] = None
    precision: Annotated[str, opt("of the backbone: fp32, bf16, fp16", group=MACHINE)] = "fp32"
    device: Device = "auto"
    batch_size: Annotated[
        int | None,
        opt("samples a backbone pass; default 1 on a CPU, 16 on an accelerator", group=MACHINE),
    ] = None
    workers: Annotated[int, opt("decoding processes; 0: none", group=MACHINE)] = 1
    threads: Threads = None
    rank: Annotated[
        int | None,
        opt(
            "this process among --world that fill one cache; default: torchrun, srun", group=CLUSTER
        ),
    ] = None
    world: Annotated[int | None, opt("number of processes that fill the cache", group=CLUSTER)] = (
        None
    )
    engine: Annotated[
        str,
        opt(
            "local: this process; ray: workers on the nodes of a cluster (docs/cluster.md)",
            group=CLUSTER,
        ),
    ] = "local"
    ray_address: Annotated[
        str | None,
        opt(
            "HOST:PORT, or auto; default: RAY_ADDRESS, or a Ray of this machine's own",
            group=CLUSTER,
        ),
    ] = None
    ray_workers: Annotated[
        int | None,
        opt("at most so many workers; default: as many as there is room for", group=CLUSTER),
    ] = None
    ray_cpus: Annotated[int, opt("that a worker claims, and its --threads", group=CLUSTER)] = 1
    ray_gpus: Annotated[
        float | None,
        opt("that a worker claims, e.g. 0.5; default: 1 where the cluster has any", group=CLUSTER),
    ] = None
