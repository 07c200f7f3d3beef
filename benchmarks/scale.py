"""What caches of COCO, Objects365 and a billion images cost: the tables of docs/scale.md.

    python benchmarks/scale.py

The tables are arithmetic on measured figures (with their sources) and on assumed ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fdet.cache.format.records import table_dtype
from fdet.pipeline.extraction.options import ExtractConfig

DATA_SETS = {"COCO": 118_287, "Objects365": 1_742_289, "a billion": 1_000_000_000}


@dataclass(frozen=True)
class Backbone:
    """A backbone, with the figures of its maps.

    shapes: the (C, stride) of the cached levels. bits: the measured bits per value, by codec.
    """

    name: str
    shapes: tuple[tuple[int, int], ...]
    bits: dict[str, float]

    def values(self, side: int) -> int:
        """Return the number of values of an image of side x side px."""
        return sum(channels * (side // stride) ** 2 for channels, stride in self.shapes)


# From docs/codecs.md (BCCD), and benchmarks/RESULTS.md, "A ReLU backbone" (random weights).
LITE0 = Backbone(
    "EfficientNet-Lite0",
    ((40, 8), (112, 16), (320, 32)),
    {"fp16": 14.76, "int8": 6.17, "int5": 3.04, "int4": 2.12, "int4+pca128": 1.74},
)
RESNET50 = Backbone(
    "ResNet-50",
    ((512, 8), (1024, 16), (2048, 32)),
    {"fp16": 9.57, "int8": 4.45, "int5": 2.13, "int4": 1.45, "int4+pca128": 0.38},
)
BACKBONES = (LITE0, RESNET50)

# From benchmarks/RESULTS.md, "Codecs": MB of float32 maps per second on one thread, packing and unpacking.
SPEEDS = {
    "fp16": (442, 1443),
    "int8": (434, 1213),
    "int5": (289, 750),
    "int4": (282, 684),
    "int4+pca128": (266, 513),
}
# docs/planning.md: seconds to decode an image of 480x640.
DECODE = 0.0027
# From benchmarks/RESULTS.md, "Many shards": the seconds and MiB that opening 120,000 images takes.
MANY_IMAGES, MANY_SECONDS, MANY_MIB = 120_000, 1.09, 180

# These figures are assumed.
SIDE = 640
CORES = 16  # of a node, in addition to one accelerator
FORWARD = 460.0  # images a second of an accelerator, as published for DINOv3 at 640 px
DISK = 10e9  # bytes a second that the shared file system takes from all nodes together
TRAINING = 200.0  # images a second of one training process
GPU_HOUR, CORE_HOUR, TB_MONTH = 2.5, 0.04, 20.0  # dollars

INDEX_BYTES = 20  # of a chunk, as pipeline/tools/planning has it
NODES = (1, 8, 64, 512)
MANY_NODES = 64
SHARD_BYTES = ExtractConfig.__dataclass_fields__["shard_mb"].default * 2**20
STORED = {"fp16": 2, "int8": 1, "int5": 1, "int4": 1, "int4+pca128": 1}


def sample_bytes(backbone: Backbone, codec: str) -> float:
    """Return the bytes of a sample on the disk, including its line in the table of samples."""
    levels = len(backbone.shapes)
    beside = table_dtype(levels).itemsize + levels * INDEX_BYTES
    return backbone.values(SIDE) * backbone.bits[codec] / 8 + beside


def packing(backbone: Backbone, codec: str) -> float:
    """Return the seconds that a core takes to pack one sample."""
    return backbone.values(SIDE) * 4 / (SPEEDS[codec][0] * 1e6)


def node_rate(backbone: Backbone, codec: str) -> tuple[float, str]:
    """Return the images per second that a node computes and packs, and what limits it."""
    processor = CORES / (DECODE + packing(backbone, codec))
    return min((FORWARD, "accelerator"), (processor, "cores"))


def hours(images: int, nodes: int, backbone: Backbone, codec: str) -> tuple[float, str]:
    """Return the hours of an extraction, and what limits it."""
    rate, why = node_rate(backbone, codec)
    disk = DISK / sample_bytes(backbone, codec)
    rate, why = min((nodes * rate, why), (disk, "disk"))
    return images / rate / 3600, why


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def shown(value: float, units: Sequence[str]) -> str:
    """Format a value with three figures; each unit is a thousand of the one before."""
    for unit in units[:-1]:
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {units[-1]}" if value < 999.5 else f"{value:,.0f} {units[-1]}"


def format_bytes(size: float) -> str:
    return shown(size / 1e3, ("kB", "MB", "GB", "TB", "PB"))


def shown_hours(value: float) -> str:
    if value < 1 / 60:
        return f"{3600 * value:.2g} s"
    if value < 1:
        return f"{60 * value:.2g} min"
    return f"{value:.3g} h" if value < 72 else f"{value / 24:,.0f} days"


def bytes_table() -> Iterator[str]:
    rows = [
        (
            f"{backbone.name}, `{codec}`",
            f"{backbone.bits[codec]:.2f}",
            format_bytes(sample_bytes(backbone, codec)),
            *(format_bytes(n * sample_bytes(backbone, codec)) for n in DATA_SETS.values()),
        )
        for backbone in BACKBONES
        for codec in backbone.bits
    ]
    yield from table(("maps", "bits", "a sample", *DATA_SETS), rows)


def hours_table(codec: str = "int5") -> Iterator[str]:
    rows = []
    for backbone in BACKBONES:
        for name, images in DATA_SETS.items():
            found = [hours(images, nodes, backbone, codec) for nodes in NODES]
            rows.append(
                (
                    f"{backbone.name}, {name}",
                    *(f"{shown_hours(took)} ({why})" for took, why in found),
                )
            )
    yield from table((f"`{codec}`", *(f"{n} node{'s' * (n > 1)}" for n in NODES)), rows)


def node_table() -> Iterator[str]:
    rows = []
    for backbone in BACKBONES:
        for codec in backbone.bits:
            rate, why = node_rate(backbone, codec)
            cores = FORWARD * (DECODE + packing(backbone, codec))
            size = sample_bytes(backbone, codec)
            rows.append(
                (
                    f"{backbone.name}, `{codec}`",
                    f"{rate:.0f} images/s ({why})",
                    f"{cores:.0f}",
                    format_bytes(rate * size) + "/s",
                    f"{DISK / size / rate:.0f}",
                )
            )
    head = (
        "maps",
        "a node",
        "cores that one accelerator keeps busy",
        "a node writes",
        "nodes that fill the disk",
    )
    yield from table(head, rows)


def files_table(codec: str = "int5") -> Iterator[str]:
    rows = []
    for backbone in BACKBONES:
        raw = backbone.values(SIDE) * STORED[codec]
        each = max(1, int(SHARD_BYTES // raw))
        files = len(backbone.shapes) + 2  # a level, the table of samples, the record
        disk = DISK / sample_bytes(backbone, codec)
        images_a_second = min(MANY_NODES * node_rate(backbone, codec)[0], disk)
        for name, images in DATA_SETS.items():
            shards = -(-images // each)
            rows.append(
                (
                    f"{backbone.name}, {name}",
                    f"{shards:,}",
                    format_bytes(each * sample_bytes(backbone, codec)),
                    f"{shards * files:,}",
                    f"{images_a_second / each * files:.0f}",
                    shown_hours(images * MANY_SECONDS / MANY_IMAGES / 3600),
                    format_bytes(images * MANY_MIB * 2**20 / MANY_IMAGES),
                )
            )
    head = (
        f"`{codec}`",
        "shards",
        "a shard",
        "files",
        f"files a second, {MANY_NODES} nodes",
        "opening",
        "memory of a reader",
    )
    yield from table(head, rows)


def reading_table() -> Iterator[str]:
    rows = []
    for backbone in BACKBONES:
        for codec in ("fp16", "int5", "int4+pca128"):
            size = sample_bytes(backbone, codec)
            unpack = backbone.values(SIDE) * 4 / (SPEEDS[codec][1] * 1e6)
            rows.append(
                (
                    f"{backbone.name}, `{codec}`",
                    format_bytes(TRAINING * size) + "/s",
                    f"{TRAINING * len(backbone.shapes):.0f}",
                    format_bytes(size / len(backbone.shapes)),
                    f"{TRAINING * unpack:.1f}",
                    f"{DISK / size / TRAINING:.0f}",
                )
            )
    head = (
        "maps",
        "bytes",
        "reads a second",
        "a read",
        "cores that unpack",
        "trainings that fill the disk",
    )
    yield from table(head, rows)


def cost_table(codec: str = "int5") -> Iterator[str]:
    rows = []
    for backbone in BACKBONES:
        rate, _ = node_rate(backbone, codec)
        for name, images in DATA_SETS.items():
            node_hours = images / rate / 3600
            extraction = node_hours * (GPU_HOUR + CORES * CORE_HOUR)
            month = images * sample_bytes(backbone, codec) / 1e12 * TB_MONTH
            live = images / FORWARD / 3600 * GPU_HOUR
            rows.append(
                (
                    f"{backbone.name}, {name}",
                    f"{node_hours:,.3g}" if node_hours < 1000 else f"{node_hours:,.0f}",
                    *(f"{_rounded(dollars)}" for dollars in (extraction, month, live)),
                    f"{(extraction + month) / live:.1f}",
                )
            )
    head = (
        f"`{codec}`",
        "node-hours",
        "extraction, $",
        "a month of storage, $",
        "backbone in the loop, $ an epoch",
        "pays after epochs",
    )
    yield from table(head, rows)


def _rounded(dollars: float) -> str:
    return f"{dollars:,.0f}" if dollars >= 10 else f"{dollars:.2g}"


TABLES = {
    "bytes": bytes_table,
    "a node": node_table,
    "hours": hours_table,
    "files": files_table,
    "reading": reading_table,
    "costs": cost_table,
}


def main() -> None:
    for name, lines in TABLES.items():
        print(f"\n{name}\n")
        print("\n".join(lines()))


if __name__ == "__main__":
    main()
