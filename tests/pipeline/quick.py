"""Extractions of a moment: a small net with random weights, and four shards of three images."""

from pathlib import Path

from fdet.cache.reader import FeatureCache
from fdet.cache.stores import store_of
from fdet.pipeline.extraction.options import ExtractConfig

from ..conftest import extraction

QUICK = {
    "backbone": "test_resnet",
    "weights": "random",
    "levels": "c1,c2",
    "size": 64,
    "codec": "fp32",
    "views": "plain,hflip",
}
IMAGES, VIEWS = 12, 2


def quick(dataset: Path, out: Path, **changes) -> ExtractConfig:
    return extraction(dataset, out, **{**QUICK, **changes})


def command(dataset: Path, out: Path, **options) -> list[object]:
    """The words of a command that does the same."""
    values = {**QUICK, "threads": 1, "shard-mb": 1, "workers": 0, **options}
    pairs = [f"--{name}={value}" for name, value in values.items()]
    return ["extract", dataset, "--images", dataset.parent / "images", "--out", out, *pairs]


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its bytes."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def records(root: Path) -> list[str]:
    """The shards that are there."""
    return sorted(path.stem for path in (root / "commits").glob("*.json"))


def sample_place(root: Path, image_id: int, view: int = 0, level: int = 0) -> tuple[Path, int]:
    """The file that holds a sample at a level, and a byte within its frame."""
    cache = FeatureCache.open(root)
    number, _ = cache.header.layout.locate(image_id, view)
    shard, name = cache.header.layout.shards[number], cache.header.key.levels.names[level]
    chunk = cache.entry(image_id, view).chunks[level]
    file = store_of(cache.header.store).level_file(shard, name)
    return root / file, chunk.offset + chunk.length // 2


def flip_bit(path: Path, position: int) -> None:
    """Damage one byte of a file; once more, and it is sound again."""
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)


def damage(root: Path, image_id: int, view: int = 0, level: int = 0) -> Path:
    """Flip a bit of a sample; the file that was damaged."""
    path, position = sample_place(root, image_id, view, level)
    flip_bit(path, position)
    return path
