"""--image-vectors through everything that makes, moves and checks a cache."""

import re
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.errors import FeatureError, KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.cache.format.vectors import vectors_name
from fdet.cache.info import describe
from fdet.cache.pyramid import VectorSpec
from fdet.cache.reader import FeatureCache
from fdet.cache.stores import STORES
from fdet.cache.verify import verify
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.images.canvases import recipe_of, render
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.tools.equivalence.check import check_equivalence
from fdet.pipeline.tools.equivalence.checks import steps_config
from fdet.pipeline.tools.equivalence.options import EquivalenceOptions
from fdet.pipeline.tools.planning.measure import contents_of
from fdet.pipeline.tools.upkeep.convert import Conversion, convert
from fdet.pipeline.tools.upkeep.rm import remove_cache, remove_damaged

from ...generated import make_dataset
from ..quick import flip_bit, quick, tree

POOLED = VectorSpec("average-pool", 96)
SHORT = {"size": None, "short": 48, "long": 96}


@pytest.fixture(scope="module")
def caches(dataset, tmp_path_factory):
    """By store, with vectors; read only."""
    folder = tmp_path_factory.mktemp("vectors")
    for store in STORES:
        extract(quick(dataset, folder / f"{store}.fdet", store=store, image_vectors=True))
    return {store: folder / f"{store}.fdet" for store in STORES}


@pytest.fixture
def whole(store, caches):
    return caches[store]


@pytest.fixture(scope="module")
def failed_set(tmp_path_factory):
    """Six images, of which one file is none; canvases of two shapes."""
    data = make_dataset(tmp_path_factory.mktemp("set"), images=6)
    (data.parent / "images" / "24.png").write_bytes(b"no image")
    return data


def with_vectors(root):
    return {name for name in tree(root) if name.startswith("vectors/")}


def test_every_vector_is_what_the_backbone_gives_of_that_canvas(failed_set, tmp_path):
    extract(quick(failed_set, tmp_path / "c", image_vectors=True, **SHORT))
    cache = FeatureCache.open(tmp_path / "c")
    assert cache.header.key.image_vector == POOLED
    assert len(cache.header.layout.buckets) == 2 and len(cache.failed) == 1
    backbone = load_backbone(
        "test_resnet", weights="random", levels=["c1", "c2"], image_vectors=True
    )
    recipe = recipe_of(cache.header.key, failed_set.parent / "images")
    for image_id in cache.image_ids:
        for view in (0, 1):
            shown = render(recipe, cache.header.layout.image(image_id), (view,))
            pixels = torch.from_numpy(np.ascontiguousarray(shown.pixels[0]))[None]
            live = backbone(pixels, [shown.placements[0].content_hw]).vector[0].numpy()
            assert cache.vector(image_id, view).tobytes() == live.tobytes()
    assert not np.array_equal(cache.vector(image_id, 0), cache.vector(image_id, 1))


def test_both_stores_hold_the_same_vectors(caches):
    trees = [
        {n: raw for n, raw in tree(root).items() if n in with_vectors(root)}
        for root in caches.values()
    ]
    assert trees[0] == trees[1] and len(trees[0]) == 4


def test_maps_are_those_of_a_cache_without(store, whole, quick_caches):
    mine, theirs = FeatureCache.open(whole), FeatureCache.open(quick_caches[store])
    assert mine.image_ids == theirs.image_ids
    for image_id in mine.image_ids:
        for view in (0, 1):
            assert mine.stored(image_id, view)[1] == theirs.stored(image_id, view)[1]
    assert with_vectors(quick_caches[store]) == set()


def test_any_ranks_in_any_order_give_the_same_bytes(dataset, caches, tmp_path):
    for rank in (2, 0, 1):
        extract(quick(dataset, tmp_path / "c", rank=rank, world=3, image_vectors=True))
    assert tree(tmp_path / "c") == tree(caches["zarr"])


def test_an_interrupted_extraction_goes_on(dataset, caches, tmp_path, passes):
    out = shutil.copytree(caches["zarr"], tmp_path / "c")
    wanted, lost = tree(out), CacheHeader.read(out).layout.shards[1].name
    for name in ("manifest.json", f"commits/{lost}.json"):
        (out / name).unlink()
    (out / vectors_name(lost)).write_bytes(b"half")
    extract(quick(dataset, out, image_vectors=True))
    assert passes["samples"] == 6
    (aside,) = [name for name in tree(out) if ".aside-" in name] or [None]
    assert {n: raw for n, raw in tree(out).items() if n != aside} == wanted


def test_a_failed_image_that_is_mended_gets_its_vector(failed_set, tmp_path):
    data = shutil.copytree(failed_set.parent, tmp_path / "set") / failed_set.name
    extract(quick(data, tmp_path / "c", image_vectors=True))
    shutil.copy(data.parent / "images" / "10.png", data.parent / "images" / "24.png")
    extract(quick(data, tmp_path / "c", image_vectors=True, retry_failed=True))
    cache = FeatureCache.open(tmp_path / "c")
    assert cache.failed == {} and verify(cache.root).sound
    assert cache.vector(24).tobytes() == cache.vector(10).tobytes()


def test_with_and_without_are_two_caches(dataset, quick_caches, caches, tmp_path):
    for root, wanted, said in (
        (quick_caches["zarr"], True, "average-pool(96 ch) here, None there"),
        (caches["zarr"], False, "None here, average-pool(96 ch) there"),
    ):
        before = tree(root)
        for options in ({"out": root}, {"out": tmp_path / "new", "update": root}):
            with pytest.raises(KeyMismatch, match=re.escape(f"image_vector: {said}")):
                extract(quick(dataset, image_vectors=wanted, **options))
        assert tree(root) == before


def test_an_update_takes_them_over_without_the_backbone(dataset, store, whole, tmp_path, passes):
    extract(quick(dataset, tmp_path / "c", store=store, image_vectors=True, update=whole))
    assert tree(tmp_path / "c") == tree(whole)
    assert not passes


def test_an_update_of_a_part_gives_the_bytes_of_a_fresh_run(dataset, caches, tmp_path, passes):
    options = {"image_vectors": True, "limit": 5}
    extract(quick(dataset, tmp_path / "part", **options))
    passes.clear()
    extract(quick(dataset, tmp_path / "c", image_vectors=True, update=tmp_path / "part"))
    assert passes["samples"] == 14
    assert tree(tmp_path / "c") == tree(caches["zarr"])


def test_a_conversion_of_the_store_keeps_them(store, caches, tmp_path, passes):
    other = {"zarr": "hdf5", "hdf5": "zarr"}[store]
    convert(caches[store], tmp_path / "c", Conversion(store=other))
    assert tree(tmp_path / "c") == tree(caches[other])
    assert not passes


@pytest.mark.parametrize("codec", ["fp16", "int8+pca"])
def test_a_conversion_of_the_codec_keeps_them_as_they_were(codec, whole, tmp_path):
    convert(whole, tmp_path / "c", Conversion(codec=codec))
    mine, theirs = tree(tmp_path / "c"), tree(whole)
    names = with_vectors(whole)
    assert {n: mine[n] for n in names} == {n: theirs[n] for n in names}
    assert verify(tmp_path / "c").sound


def test_damage_is_found_taken_out_and_mended(dataset, store, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "c")
    name = sorted(with_vectors(out))[1]
    flip_bit(out / name, 200)
    (damage,) = verify(out).damages
    assert (damage.file, damage.shard) == (name, name[8:-4])
    remove_damaged(out)
    assert not (out / name).exists()
    extract(quick(dataset, out, store=store, image_vectors=True))
    assert tree(out) == tree(whole)


def test_rm_takes_them_too(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "c")
    remove_cache(out)
    assert not out.exists()


def test_info_tells_of_them(whole, store, quick_caches):
    assert describe(whole)["image vector"] == "average-pool(96 ch)"
    assert "image vector" not in describe(quick_caches[store])
    told = CliRunner().invoke(app, ["cache", "info", str(whole)])
    assert "average-pool(96 ch)" in told.output


def test_a_vector_that_is_no_number_stops_the_extraction(dataset, tmp_path, monkeypatch):
    forward = FrozenBackbone.forward

    def spoilt(backbone, canvases, content_hw):
        pyramid = forward(backbone, canvases, content_hw)
        pyramid.vector[0, 3] = torch.inf
        return pyramid

    monkeypatch.setattr(FrozenBackbone, "forward", spoilt)
    with pytest.raises(
        FeatureError, match=r"image 10.png \(id 10\), view 0: its vector is NaN or inf"
    ):
        extract(quick(dataset, tmp_path / "c", image_vectors=True))


def test_the_plan_counts_their_bytes(caches, quick_caches):
    mine, theirs = (contents_of(CacheHeader.read(c["zarr"])) for c in (caches, quick_caches))
    assert mine.overhead == theirs.overhead + 4 * 96
    assert mine.shard_bytes == theirs.shard_bytes + 6 * 4 * 96


TINY = ("neck.channels=8", "neck.max_level=3", "train.batch_size=2")


def checked(cache, images, **options):
    config = steps_config(cache, None, TINY)
    return check_equivalence(
        cache, config, EquivalenceOptions(images=images, **{"steps": 1, "samples": 24, **options})
    )


def test_equivalence_holds_them_against_the_backbone_bit_for_bit(dataset, whole):
    found = checked(whole, dataset.parent / "images")
    assert found.equivalent
    row = found.levels[-1]
    assert (row.name, row.samples, row.values) == ("(vector)", 24, 24 * 96)
    assert row.same_bits == row.values and row.absolute == 0


@pytest.fixture
def changed(monkeypatch):
    """How far one number of one vector is from what the cache holds, as a share of the largest."""
    vectors, amount = FeatureCache.vectors, Counter()

    def altered(cache, samples):
        found = vectors(cache, samples)
        for row, sample in zip(found, samples, strict=True):
            if sample == (31, 1):
                k = np.abs(row).argmax()
                row[k] = (
                    np.nextafter(row[k], np.inf)
                    if not amount["share"]
                    else row[k] * (1 + amount["share"])
                )
        return found

    monkeypatch.setattr(FeatureCache, "vectors", altered)
    return amount


def test_equivalence_finds_one_bit_and_elsewhere_what_is_beyond_the_bound(dataset, whole, changed):
    images = dataset.parent / "images"
    found = checked(whole, images)
    assert not found.equivalent
    (failure,) = found.failures
    assert "(id 31), view hflip, image vector: 1 of 96 values have other bits" in failure
    assert checked(whole, images, elsewhere=True).equivalent
    changed["share"] = 1e-2
    (failure,) = checked(whole, images, elsewhere=True).failures
    assert "image vector: 1 of 96 values are beyond the bound" in failure


def test_the_command_takes_the_option(dataset, tmp_path):
    words = ["extract", dataset, "--images", dataset.parent / "images", "--out", tmp_path / "c"]
    more = ["--backbone=test_vit", "--weights=random", "--size=64", "--threads=1", "--workers=0"]
    done = CliRunner().invoke(
        app, [str(w) for w in (*words, *more, "--limit=2", "--image-vectors")]
    )
    assert done.exit_code == 0, done.output
    assert CacheHeader.read(tmp_path / "c").key.image_vector == VectorSpec("class-token", 64)
