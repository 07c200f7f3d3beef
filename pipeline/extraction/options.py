"""The options of an extraction; every default stands here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CALIBRATION_IMAGES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    """Everything that `fdet extract` takes.

    size: side of a square canvas, px; or short and long: the aspect is kept. batch_size None: 1 on
    a CPU, where the features are then bit for bit those of online training, 16 on an accelerator.
    threads None: as many as torch chooses. shard_mb: of uncompressed maps, MiB. rank and world: this
    process's number among those that fill the cache together; None: torchrun's or SLURM's. verify_images:
    hold every image of finished shards against what they were made from, not only those that were touched
    since; redo_changed: make the shards of changed images again instead of refusing to go on. update:
    an older cache whose features are taken over for every image that has not changed. calibration: a
    cache whose codec is taken over; else calibration_images of them are looked at beforehand, where the
    codec needs it. image_vectors: keep one vector of each image as a whole too. engine: "local", or "ray"
    (ray_address, ...: as RayPlace has them); threads None are then ray_cpus.
    """

    annotations: Path
    images: Path
    out: Path
    backbone: str = "tf_efficientnet_lite0"
    weights: str | None = None
    size: int | None = None
    short: int | None = None
    long: int | None = None
    levels: str | None = None
    views: str = "plain"
    codec: str = "int5"
    store: str = "zarr"
    precision: str = "fp32"
    device: str = "auto"
    batch_size: int | None = None
    workers: int = 1
    threads: int | None = None
    shard_mb: int = 256
    limit: int | None = None
    seed: int = 0
    retry_failed: bool = False
    verify_images: bool = False
    redo_changed: bool = False
    rank: int | None = None
    world: int | None = None
    update: Path | None = None
    calibration: Path | None = None
    calibration_images: int = CALIBRATION_IMAGES
    image_vectors: bool = False
    engine: str = "local"
    ray_address: str | None = None
    ray_workers: int | None = None
    ray_cpus: int = 1
    ray_gpus: float | None = None
