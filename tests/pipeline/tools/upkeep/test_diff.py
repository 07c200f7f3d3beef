"""What two caches were made from differently: each field by its name, with what that forbids."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from fdet.cache.diff import differences
from fdet.cache.disk.files import FileEntry
from fdet.cache.errors import CorruptCache, InputError
from fdet.cache.format.header import CacheHeader
from fdet.cache.key import CacheKey
from fdet.cache.layout import Bucket, Layout
from fdet.cache.pyramid import LevelSpec, PyramidSpec, VectorSpec
from fdet.pipeline.extraction.extract import extract

from ...quick import flip_bit, quick

PAIR = "do not pair: a head trained on one cannot be used on the other"
REUSE = "they pair; features cannot be taken over from one to the other"
BYTES = "they pair; only the bytes on the disk may differ"
# For each field of the key: what forbids most, another value, how the two are shown.
FIELDS = {
    "backbone": (PAIR, "resnet18", "test_resnet | resnet18"),
    "weights_sha256": (PAIR, "ab" * 32, f" | {'ab' * 32}"),
    "weights_origin": (REUSE, "file", "random | file"),
    "mean": (PAIR, (0.0, 0.0, 0.0), " | (0.0, 0.0, 0.0)"),
    "std": (PAIR, (1.0, 1.0, 1.0), " | (1.0, 1.0, 1.0)"),
    "short": (PAIR, 65, "64 | 65"),
    "long": (PAIR, 65, "64 | 65"),
    "square": (PAIR, False, "True | False"),
    "divisor": (PAIR, 64, "4 | 64"),
    "interpolation": (PAIR, "nearest", " | nearest"),
    "bits": (PAIR, 12, "16 | 12"),
    "levels": (PAIR, PyramidSpec((LevelSpec("c9", 4, 7),)), "c9(stride 4, 7 ch)"),
    "precision": (PAIR, "bf16", "fp32 | bf16"),
    "image_vector": (REUSE, VectorSpec("class-token", 5), "None | class-token(5 ch)"),
    "codec": (REUSE, "fp16", "fp32 | fp16"),
    "converted": (REUSE, ("fp16",), "() | ('fp16',)"),
    "views": (REUSE, ("plain",), "('plain', 'hflip') | ('plain',)"),
    "seed": (REUSE, 5, "0 | 5"),
    "batch_size": (REUSE, 2, "1 | 2"),
    "threads": (REUSE, 7, "1 | 7"),
    "device": (REUSE, "Abacus 3000", "cpu | Abacus 3000"),
    "torch": (REUSE, "1.0", " | 1.0"),
    "torchvision": (REUSE, "1.0", " | 1.0"),
    "timm": (REUSE, "1.0", " | 1.0"),
    "pillow": (REUSE, "1.0", " | 1.0"),
    "numpy": (REUSE, "1.0", " | 1.0"),
    "zstandard": (BYTES, "1.0", " | 1.0"),
    "zarr": (BYTES, "1.0", " | 1.0"),
    "h5py": (BYTES, "1.0", " | 1.0"),
}


@pytest.fixture
def changed(quick_caches, tmp_path):
    """A header that differs from that of the quick cache, in a folder of its own."""

    def make(**changes) -> Path:
        header = CacheHeader.read(quick_caches["zarr"])
        (tmp_path / "other").mkdir()
        other = replace(header, **changes)
        (tmp_path / "other" / "fdet.json").write_bytes(other.to_bytes())
        return tmp_path / "other"

    return make


def test_the_table_has_every_field_of_the_key():
    assert {*FIELDS, "calibration"} == {f.name for f in fields(CacheKey)}


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_alone_is_named_with_what_it_forbids(name, quick_caches, changed):
    forbids, value, shown = FIELDS[name]
    header = CacheHeader.read(quick_caches["zarr"])
    layout = header.layout if name != "views" else replace(header.layout, views=value)
    other = changed(key=replace(header.key, **{name: value}), layout=layout)
    (line,) = differences(quick_caches["zarr"], other)
    assert line.startswith(f"{name}: ") and line.endswith(f"({forbids})")
    assert shown in line
    assert differences(other, other) == []


def test_another_calibration_of_the_same_codec_is_named(quick_caches, tmp_path):
    header = CacheHeader.read(quick_caches["zarr"])
    for name, calibration in (("a", "ab" * 32), ("b", "cd" * 32)):
        key = replace(header.key, codec="int5", calibration=calibration)
        (tmp_path / name).mkdir()
        (tmp_path / name / "fdet.json").write_bytes(replace(header, key=key).to_bytes())
    (line,) = differences(tmp_path / "a", tmp_path / "b")
    assert line == f"calibration: {'ab' * 32} | {'cd' * 32}  ({REUSE})"


LAYOUT = "layout: the same images in another order, or in shards of another size"


def test_two_extractions_of_the_same_inputs_do_not_differ(store, whole, dataset, tmp_path):
    extract(quick(dataset, tmp_path / "c", store=store))
    assert differences(whole, tmp_path / "c") == []


def test_facts_beside_the_key_are_no_difference(quick_caches, changed):
    other = changed(backbone={"parameters": 1}, other_files={"x": FileEntry(1, "")})
    assert differences(quick_caches["zarr"], other) == []


def test_another_store_can_be_converted(quick_caches):
    lines = differences(quick_caches["zarr"], quick_caches["hdf5"])
    assert [line.partition(":")[0] for line in lines] == ["zarr", "h5py", "store"]
    assert lines[-1] == "store: zarr | hdf5  (`fdet cache convert` changes it)"
    assert all(line.endswith(f"({BYTES})") for line in lines[:-1])


def with_images(layout, images):
    (bucket,) = layout.buckets
    return Layout(
        layout.views, (Bucket(bucket.canvas_hw, min(bucket.images_per_shard, len(images)), images),)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images: images[2:], "images: 2 only in the first, 0 only in the second"),
        (
            lambda images: (replace(images[0], id=5), *images[1:]),
            "images: 1 only in the first, 1 only in the second",
        ),
        (
            lambda images: (replace(images[0], file_name="x.png"), *images[1:]),
            "images: 1 id names another file or size, e.g. 10",
        ),
        (
            lambda images: (*images[:5], replace(images[5], hw=(9, 9)), *images[6:]),
            "images: 1 id names another file or size, e.g. 45",
        ),
        (lambda images: images[::-1], LAYOUT),
    ],
    ids=["removed", "renumbered", "renamed", "resized", "reordered"],
)
def test_other_images_are_counted(change, said, quick_caches, changed):
    layout = CacheHeader.read(quick_caches["zarr"]).layout
    other = changed(layout=with_images(layout, change(layout.images)))
    assert differences(quick_caches["zarr"], other) == [said]


def test_shards_of_another_size_are_told(quick_caches, changed):
    layout = CacheHeader.read(quick_caches["zarr"]).layout
    (bucket,) = layout.buckets
    other = changed(layout=replace(layout, buckets=(replace(bucket, images_per_shard=5),)))
    assert differences(quick_caches["zarr"], other) == [LAYOUT]


def test_an_unfinished_cache_can_be_compared(dataset, whole, store, tmp_path):
    extract(quick(dataset, tmp_path / "c", store=store, rank=1, world=2))
    assert differences(whole, tmp_path / "c") == []


def test_what_is_no_cache_or_a_damaged_one_is_refused(quick_caches, tmp_path):
    with pytest.raises(InputError, match="is not a cache"):
        differences(quick_caches["zarr"], tmp_path)
    other = shutil.copytree(quick_caches["zarr"], tmp_path / "c")
    flip_bit(other / "fdet.json", 40)
    with pytest.raises(CorruptCache, match=r"fdet\.json"):
        differences(quick_caches["zarr"], other)
