"""The options of an extraction; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ...cache.key import MAX_BITS, MIN_BITS
from ...heads.ranges import at_least, between
from ..command import DATA, FORMAT, MACHINE, Device, Threads, argument, cache_opt, opt
from ..dataset.images.sides import usual_long
from ..dataset.tiling import Tiling
from ..dataset.tiling_option import Overlap, Tiles, Whole, tiling_from

CALIBRATION_IMAGES = 32
FEATURES, CLUSTER = "Features", "Several processes"
# The longest side of a canvas, px. The maps of a larger one would not fit into a sample.
MAX_SIDE = 2**16
MAX_WORKERS = 1024

Size = Annotated[int | None, between(1, MAX_SIDE), opt("square canvas: its side, px", group=DATA)]
Short = Annotated[
    int | None, between(1, MAX_SIDE), opt("aspect kept: the shorter side, px", group=DATA)
]
Long = Annotated[
    int | None,
    between(1, MAX_SIDE),
    opt("aspect kept: limit of the longer side, px; default: 1333/800 of --short", group=DATA),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    """Everything that `fdet extract` takes.

    size: the side of a square canvas, px; the alternative is short, with or without long, which keeps the
    aspect.
    batch_size: None stands for 16 on an accelerator, and for 1 on a CPU, where the features are then those of
    online training, bit for bit. threads: None stands for as many as torch chooses, or for ray_cpus with Ray.
    update: an older cache whose features are taken over for every image that has not changed. calibration: a
    cache whose codec is taken over; otherwise the codec learns from calibration_images images, where it has
    anything to learn. tiles: the side of the tiles that larger images are cut into, px, or "auto". overlap:
    the least share that neighbours have in common. whole: whether the whole image stands beside its tiles.
    taps: the numbers of a plain ViT's blocks, in place of levels.
    """

    annotations: Annotated[Path, argument("data set: a COCO JSON, YOLO, VOC or CSV file or folder")]
    out: Annotated[Path, cache_opt("cache to make or to continue", group=DATA)]
    images: Annotated[
        Path | None, opt("folder of the images; default: found beside the annotations", group=DATA)
    ] = None
    format: Annotated[str | None, opt(FORMAT, group=DATA)] = None
    split: Annotated[str | None, opt("split of the data set, e.g. train", group=DATA)] = None
    views: Annotated[
        str,
        opt(
            "views of each image, plain first; then hflip, vflip, scale=0.7..1.4, crop=0.5, combined by + "
            "and repeated by xN",
            group=DATA,
        ),
    ] = "plain"
    size: Size = None
    short: Short = None
    long: Long = None
    limit: Annotated[int | None, at_least(1), opt("only the first N images", group=DATA)] = None
    bits: Annotated[
        int | None,
        between(MIN_BITS, MAX_BITS),
        opt(
            "bits of deep pixels, which are read as 0 to 2^N - 1; default: looked at, once for the cache",
            group=DATA,
        ),
    ] = None
    tiles: Tiles = None
    overlap: Overlap = None
    whole: Whole = False
    backbone: Annotated[
        str, opt("name of a timm model, or torchvision/resnet50", group=FEATURES)
    ] = "tf_efficientnet_lite0"
    weights: Annotated[
        str | None,
        opt(
            "weights FILE (.safetensors, .pth), FILE#NAME for one of several sets in it, or 'random'; "
            "default: installed package, else download",
            group=FEATURES,
        ),
    ] = None
    levels: Annotated[
        str | None,
        opt(
            "levels to keep, e.g. c3,c4,c5; default: strides 8, 16, 32, or a plain ViT's last block",
            group=FEATURES,
        ),
    ] = None
    taps: Annotated[
        str | None,
        opt("plain ViTs: blocks to keep, by number, e.g. 8 for --levels block8", group=FEATURES),
    ] = None
    codec: Annotated[
        str,
        opt(
            "how maps are stored, the finest first: fp32, fp16, bf16, int8, int6, int5, int4, q2, q1.5, q1 "
            "(transform-coded, about so many bits a value); as principal "
            "components: int5+pca, or as the first 64 of them: int5+pca64",
            group=FEATURES,
        ),
    ] = "int5"
    calibration: Annotated[
        Path | None,
        cache_opt(
            "int, q and pca codecs: cache whose scales to take over, so that both read as one",
            group=FEATURES,
        ),
    ] = None
    calibration_images: Annotated[
        int,
        at_least(1),
        opt("int, q and pca codecs: number of images that decide the scales", group=FEATURES),
    ] = CALIBRATION_IMAGES
    image_vectors: Annotated[
        bool,
        opt(
            "also keep each image's class token, or the vector that the backbone pools before its classifier",
            group=FEATURES,
        ),
    ] = False
    tokens: Annotated[
        bool,
        opt(
            "plain ViTs: also keep the tokens beside each map (class, registers), which a tail takes",
            group=FEATURES,
        ),
    ] = False
    seed: Annotated[
        int, between(0, 2**63 - 1), opt("seed of random views and random weights", group=FEATURES)
    ] = 0
    store: Annotated[str, opt("store of the maps: zarr or hdf5", group=FEATURES)] = "zarr"
    shard_mb: Annotated[
        int, at_least(1), opt("MiB of uncompressed maps per shard", group=FEATURES)
    ] = 256
    retry_failed: Annotated[bool, opt("try images that failed before again")] = False
    verify_images: Annotated[
        bool,
        opt("check all images of finished shards for changes, not only those touched since"),
    ] = False
    redo_changed: Annotated[
        bool, opt("remake the shards of images that were edited since, instead of refusing")
    ] = False
    update: Annotated[
        Path | None,
        cache_opt("older cache whose features to take over for images that have not changed"),
    ] = None
    precision: Annotated[
        str, opt("precision of the backbone: fp32, bf16 or fp16", group=MACHINE)
    ] = "fp32"
    device: Device = "auto"
    batch_size: Annotated[
        int | None,
        at_least(1),
        opt("samples per backbone pass; default: 1 on a CPU, 16 on an accelerator", group=MACHINE),
    ] = None
    workers: Annotated[
        int, between(0, MAX_WORKERS), opt("processes that decode images; 0: none", group=MACHINE)
    ] = 1
    threads: Threads = None
    rank: Annotated[
        int | None,
        opt(
            "number of this process among --world that fill one cache; default: from torchrun, srun",
            group=CLUSTER,
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
            "HOST:PORT of a Ray cluster, or auto; default: RAY_ADDRESS, or a Ray started on this machine",
            group=CLUSTER,
        ),
    ] = None
    ray_workers: Annotated[
        int | None,
        opt("maximum number of workers; default: as many as there is room for", group=CLUSTER),
    ] = None
    ray_cpus: Annotated[int, opt("CPUs that a worker claims, and its --threads", group=CLUSTER)] = 1
    ray_gpus: Annotated[
        float | None,
        opt(
            "GPUs that a worker claims, e.g. 0.5; default: 1 if the cluster has any", group=CLUSTER
        ),
    ] = None

    @property
    def sides(self) -> tuple[int, int]:
        """The sides of the canvas, px: the shorter one, and the limit of the longer one."""
        short = self.size or self.short
        assert short is not None
        return short, self.size or self.long or usual_long(short)

    @property
    def tiling(self) -> Tiling | None:
        """The tiling of large images, None where they stay whole; `preparation.with_data` chooses "auto"."""
        return tiling_from(self.tiles, self.overlap, self.whole)

    @property
    def level_names(self) -> list[str] | None:
        """The names of the levels to keep, None for the usual ones."""
        if self.taps is not None:
            return [f"block{number.strip()}" for number in self.taps.split(",")]
        return self.levels.split(",") if self.levels else None

    @property
    def image_folder(self) -> Path:
        """The folder of the images, which `preparation.with_data` finds where none is given."""
        assert self.images is not None
        return self.images
