"""An extraction ends with the same bytes whatever happened to it on its way."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fdet.cache.disk.publish import only_writer
from fdet.cache.errors import FeatureError, InputError, KeyMismatch, MissingSample, StorageError
from fdet.cache.reader import FeatureCache
from fdet.pipeline.backbones.frozen import FrozenBackbone
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.dataset.images.canvases import recipe_of, render
from fdet.pipeline.extraction.extract import extract

from ...conftest import extraction
from ...generated import make_dataset
from ..quick import quick, tree

MANY = {"size": 128, "views": "plain,hflip,scale=0.7..1.4", "codec": "fp32"}


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("sixteen"), images=16, side=256)


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    """A cache that several tests compare with; read only."""
    out = tmp_path_factory.mktemp("undisturbed") / "cache.fdet"
    extract(extraction(dataset, out, **MANY))
    return out


def command(dataset, out, **options):
    arguments = {"--images": dataset.parent / "images", "--out": out, **options}
    words = [str(word) for pair in arguments.items() for word in pair]
    return [sys.executable, "-m", "fdet", "extract", str(dataset), *words]


def own_images(dataset, folder):
    """A copy of the images that a test may damage."""
    return shutil.copytree(dataset.parent / "images", folder / "images")


def test_a_second_extraction_gives_the_same_files(dataset, undisturbed, tmp_path):
    summary = extract(extraction(dataset, tmp_path / "again", **MANY))
    files = tree(undisturbed)
    assert files == tree(tmp_path / "again")
    assert {"fdet.json", "manifest.json", "annotations.json.zst", "zarr.json"} <= set(files)
    assert len([name for name in files if name.startswith("commits/")]) > 1
    assert not [name for name in files if "/." in name or name.startswith(".")]
    assert (summary.samples, summary.written, summary.failed) == (36, 36, {})
    assert summary.bytes == sum(
        len(raw) for name, raw in files.items() if "/c." in name or name.startswith("samples/")
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_does_not_change_the_bytes(workers, dataset, undisturbed, tmp_path):
    extract(extraction(dataset, tmp_path / "c", workers=workers, **MANY))
    assert tree(tmp_path / "c") == tree(undisturbed)


def test_a_finished_cache_is_left_alone(dataset, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "c")
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    summary = extract(extraction(dataset, out, images=tmp_path / "gone", **MANY))
    assert (summary.samples, summary.written) == (36, 0)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == stamps


def test_what_a_killed_process_left_behind_is_removed(dataset, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "c")
    for name in (
        ".fdet.json.scratch",
        ".rank-0-of-1.scratch",
        "commits/.128x128-0.json.scratch",
        "128x128/c3/.c.0.0.0.0.scratch",
    ):
        (out / name).write_text("half a fi")
    extract(extraction(dataset, out, **MANY))
    assert tree(out) == tree(undisturbed)


def test_both_stores_hold_the_same_features_bit_for_bit(quick_caches):
    one, other = (FeatureCache.open(root) for root in quick_caches.values())
    assert one.header.store != other.header.store
    assert one.header.layout == other.header.layout
    for image_id, view in itertools.product(one.image_ids, (0, 1)):
        mine, theirs = one.stored(image_id, view), other.stored(image_id, view)
        assert mine[1] == theirs[1], "the frames move from store to store as they are"
        assert mine[0].placement == theirs[0].placement and mine[0].sha256 == theirs[0].sha256
        pairs = zip(
            one.sample(image_id, view).stored, other.sample(image_id, view).stored, strict=True
        )
        assert all(np.array_equal(x, y) for x, y in pairs)


def test_a_cache_of_another_store_is_refused_with_what_to_do(whole, store, dataset, tmp_path):
    out = shutil.copytree(whole, tmp_path / "c")
    other = {"zarr": "hdf5", "hdf5": "zarr"}[store]
    said = f"is a {store} cache, this command makes a {other} one: add --store {store}, .* convert"
    with pytest.raises(KeyMismatch, match=said):
        extract(quick(dataset, out, store=other))
    assert tree(out) == tree(whole)


def test_too_little_room_is_said_before_the_first_shard(dataset, tmp_path, monkeypatch, caplog):
    usage = shutil.disk_usage(tmp_path)
    free = 24 * 163840
    for spare, warnings in ((-1, 1), (0, 0)):
        caplog.clear()
        monkeypatch.setattr(shutil, "disk_usage", lambda _, n=spare: usage._replace(free=free + n))
        extract(quick(dataset, tmp_path / str(warnings)))
        assert sum("before compression" in r.getMessage() for r in caplog.records) == warnings


def test_features_are_the_backbones_own_bit_for_bit(dataset, exact_cache):
    cache = FeatureCache.open(exact_cache)
    recipe = recipe_of(cache.header.key, dataset.parent / "images")
    backbone = load_backbone("tf_efficientnet_lite0")
    assert len(cache) == 12
    for image in cache.header.layout.images:
        for view in (0, 1):
            canvases = render(recipe, image, (view,))
            content = [canvases.placements[0].content_hw]
            expected = backbone(torch.from_numpy(canvases.pixels), content).maps
            sample = cache.sample(image.id, view)
            assert sample.placement == canvases.placements[0]
            for mine, theirs in zip(sample.stored, expected, strict=True):
                assert np.array_equal(mine, theirs[0].numpy())


def test_images_without_boxes_are_kept(dataset, exact_cache):
    annotations, _ = load_annotations(dataset)
    empty = [i.id for i in annotations.images if len(annotations.of_image(i.id)) == 0]
    assert empty
    assert set(empty) < set(FeatureCache.open(exact_cache).image_ids)


def test_fp16_is_fp32_rounded_once(dataset, exact_cache, tmp_path):
    extract(extraction(dataset, tmp_path / "c", views="plain,hflip", codec="fp16"))
    half, exact = FeatureCache.open(tmp_path / "c"), FeatureCache.open(exact_cache)
    for image_id in half.image_ids:
        for mine, theirs in zip(
            half.sample(image_id).stored, exact.sample(image_id).stored, strict=True
        ):
            assert mine.dtype == np.float16
            assert np.array_equal(mine, theirs.astype(np.float16))


def test_a_batch_changes_the_last_bits_at_most(dataset, exact_cache, tmp_path):
    options = {"views": "plain,hflip", "codec": "fp32", "batch_size": 5}
    extract(extraction(dataset, tmp_path / "c", **options))
    batched, alone = FeatureCache.open(tmp_path / "c"), FeatureCache.open(exact_cache)
    for image_id in alone.image_ids:
        pairs = zip(
            batched.sample(image_id, 1).stored, alone.sample(image_id, 1).stored, strict=True
        )
        for mine, theirs in pairs:
            assert np.abs(mine - theirs).max() <= 2e-5 * np.abs(theirs).max()


def test_limit_takes_the_first_images(dataset, tmp_path):
    extract(extraction(dataset, tmp_path / "c", size=64, limit=3))
    expected = [i.id for i in load_annotations(dataset)[0].images[:3]]
    assert list(FeatureCache.open(tmp_path / "c").image_ids) == expected


def group_members(group):
    """Process ids of a process group, zombies left out."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                members.append(int(stat.parent.name))
    return members


def start_and_wait(arguments, out):
    """Start the command in a group of its own, and wait for the first record."""
    # A shell's background jobs ignore Ctrl-C, and so would their children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 60
    while not any((out / "commits").glob("*.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    return process


# Some ten shards.
LONG = {"size": 256, "views": "plain,hflip", "codec": "fp32", "shard_mb": 1, "threads": 1}
INTERRUPTED = {f"--{name.replace('_', '-')}": value for name, value in LONG.items()}


@pytest.fixture(scope="module")
def never_interrupted(sixteen, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "cache.fdet"
    extract(extraction(sixteen, out, **LONG))
    return out


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_and_repeated_it_ends_with_the_same_bytes(
    sent, sixteen, never_interrupted, tmp_path
):
    out = tmp_path / "cache.fdet"
    process = start_and_wait(command(sixteen, out, **{"--workers": 2}, **INTERRUPTED), out)
    assert len(group_members(process.pid)) >= 4, "itself, the fork server and two workers"
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)
    else:
        process.kill()
    errors = process.communicate(timeout=60)[1].decode()
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert "fdet: interrupted; what was finished is kept" in errors
        assert "Traceback" not in errors
    deadline = time.monotonic() + 20
    while left := group_members(process.pid):
        assert time.monotonic() < deadline, f"{left} outlive the command"
        time.sleep(0.05)

    assert not (out / "manifest.json").exists(), "it was done before: the test shows nothing"
    assert any((out / "commits").glob("*.json"))
    summary = extract(extraction(sixteen, out, **LONG))
    assert 0 < summary.written < 32 == summary.samples
    assert tree(out) == tree(never_interrupted)


def test_another_process_that_writes_there_is_waited_for_by_the_user(
    dataset, undisturbed, tmp_path
):
    out = shutil.copytree(undisturbed, tmp_path / "c")
    with (
        only_writer(out, "rank-0-of-1"),
        pytest.raises(StorageError, match="another fdet process is writing"),
    ):
        extract(extraction(dataset, out, **MANY))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"size": 96}, "short: 96 here, 128 there"),
        ({"views": "plain,hflip"}, "views: "),
        ({"codec": "fp16"}, "codec: fp16 here, fp32 there"),
        ({"seed": 1}, "seed: 1 here, 0 there"),
        ({"batch_size": 2}, "batch_size: 2 here, 1 there"),
        ({"levels": "c4,c5"}, "levels: c4(stride 16, 112 ch)"),
        ({"precision": "bf16"}, "precision: bf16 here, fp32 there"),
        ({"size": None, "short": 128, "long": 128}, "square: False here, True there"),
        ({"backbone": "test_resnet", "weights": "random"}, "backbone: test_resnet here"),
        ({"limit": 5}, "another data set: 0 images only here, 7 only there"),
        ({"shard_mb": 2}, "or another --shard-mb"),
    ],
)
def test_a_cache_made_otherwise_is_refused_with_what_differs(
    change, named, dataset, undisturbed, tmp_path
):
    out = shutil.copytree(undisturbed, tmp_path / "c")
    before = tree(out)
    with pytest.raises(KeyMismatch) as caught:
        extract(extraction(dataset, out, **{**MANY, **change}))
    assert named in str(caught.value)
    assert tree(out) == before


def test_another_data_set_is_refused(dataset, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "c")
    other = make_dataset(tmp_path / "other", images=12)
    data = json.loads(other.read_text())
    data["images"][0]["id"] = 99999
    data["annotations"] = []
    other.write_text(json.dumps(data))
    with pytest.raises(KeyMismatch, match="1 image only here, 1 only there"):
        extract(extraction(other, out, **MANY))


def test_relabelling_needs_no_other_cache(dataset, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "c")
    data = json.loads(dataset.read_text())
    data["annotations"] = data["annotations"][:3]
    relabelled = tmp_path / "annotations.json"
    relabelled.write_text(json.dumps(data))
    extract(extraction(relabelled, out, images=dataset.parent / "images", **MANY))
    assert tree(out) == tree(undisturbed)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_corrupt_image_fails_alone_and_can_be_mended(batch_size, dataset, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    options = {**MANY, "batch_size": batch_size}
    extract(extraction(dataset, whole, **options))
    images = own_images(dataset, tmp_path)
    bad = load_annotations(dataset)[0].images[4]
    sound = (images / bad.file_name).read_bytes()
    (images / bad.file_name).write_bytes(sound[:200])

    summary = extract(extraction(dataset, out, images=images, **options))
    assert list(summary.failed) == [bad.file_name]
    assert (summary.samples, summary.written) == (36, 36)
    broken, good = FeatureCache.open(out), FeatureCache.open(whole)
    assert list(broken.failed) == [bad.id]
    assert len(broken) == 11
    with pytest.raises(MissingSample, match=f"image {bad.id} failed at extraction"):
        broken.sample(bad.id)
    for image_id in broken.image_ids:
        for view in range(3):
            mine, theirs = broken.sample(image_id, view), good.sample(image_id, view)
            assert all(np.array_equal(a, b) for a, b in zip(mine.maps, theirs.maps, strict=True))

    before = tree(out)
    still = extract(extraction(dataset, out, images=images, retry_failed=True, **options))
    assert (list(still.failed), still.written) == ([bad.file_name], 0)
    assert tree(out) == before, "nothing can do better: nothing is touched"

    (images / bad.file_name).write_bytes(sound)
    again = extract(extraction(dataset, out, images=images, **options))
    assert list(again.failed) == [bad.file_name], "only when asked"
    mended = extract(extraction(dataset, out, images=images, retry_failed=True, **options))
    assert mended.failed == {} and 0 < mended.written < 36
    assert tree(out) == tree(whole)


def test_an_image_of_another_size_than_at_planning_fails_alone(dataset, tmp_path, monkeypatch):
    """The file changed between the check and its turn."""
    images = own_images(dataset, tmp_path)
    name = load_annotations(dataset)[0].images[0].file_name
    monkeypatch.setattr("fdet.pipeline.extraction.creation.check_images", lambda *_: None)
    Image.new("RGB", (40, 50)).save(images / name)
    summary = extract(extraction(dataset, tmp_path / "c", images=images, size=64))
    assert list(summary.failed) == [name]
    assert "expected (128, 128)" in summary.failed[name]


def test_every_image_may_fail_and_the_cache_is_still_whole(dataset, tmp_path):
    images = own_images(dataset, tmp_path)
    for path in images.rglob("*.png"):
        path.write_bytes(b"no image")
    summary = extract(extraction(dataset, tmp_path / "c", images=images, size=64, codec="fp16"))
    assert len(summary.failed) == 12
    assert len(FeatureCache.open(tmp_path / "c")) == 0


@pytest.mark.parametrize(
    ("canvas", "said"),
    [
        ({"size": 40_000}, "--size: a sample of bucket 40000x40000 would have"),
        ({"short": 40_000, "long": 50_000, "size": None}, "--short and --long: a sample"),
        ({"size": 10**12}, "--size: expected 1 to 65536, got 1000000000000"),
        ({"short": 10**12, "long": 10**12, "size": None}, "--short: expected 1 to 65536"),
        ({"workers": 10**9}, "--workers: expected 0 to 1024"),
    ],
)
def test_canvases_and_processes_without_measure_are_refused(canvas, said, dataset, tmp_path):
    with pytest.raises(InputError, match=said):
        extract(extraction(dataset, tmp_path / "c", **{**MANY, **canvas}))
    assert not (tmp_path / "c" / "fdet.json").exists()


def test_a_wrong_image_folder_does_not_seal_an_unfinished_cache(dataset, undisturbed, tmp_path):
    out = shutil.copytree(undisturbed, tmp_path / "c")
    (out / "manifest.json").unlink()
    (tmp_path / "wrong").mkdir()
    removed = sorted((out / "commits").iterdir())[0]
    removed.unlink()
    for folder, said in (("absent", "no such folder"), ("wrong", "images are missing below")):
        with pytest.raises(InputError, match=said):
            extract(extraction(dataset, out, images=tmp_path / folder, **MANY))
    extract(extraction(dataset, out, **MANY))
    assert tree(out) == tree(undisturbed)


def spoilt(forward, value, at):
    """A backbone whose pass number `at` over an image gives a value that cannot be stored."""
    passes = itertools.count(1)

    def replacement(backbone, canvases, content_hw):
        pyramid = forward(backbone, canvases, content_hw)
        # The first pass of all is over zeros: it counts the FLOPs.
        if canvases.any() and next(passes) == at:
            pyramid.maps[1].view(-1)[17] = value
        return pyramid

    return replacement


@pytest.mark.parametrize(
    ("value", "codec", "said"),
    [
        (float("nan"), "fp32", "1 value is NaN or infinite"),
        (float("-inf"), "fp16", "1 value is NaN or infinite"),
        (70000.0, "fp16", "|value| reaches 7e+04, codec fp16 ends at 6.55e+04; use --codec bf16"),
    ],
)
def test_a_feature_that_cannot_be_stored_names_its_image(
    value, codec, said, dataset, tmp_path, monkeypatch
):
    options = {"size": 64, "codec": codec, "views": "plain,hflip", "limit": 5}
    with monkeypatch.context() as patched:
        patched.setattr(FrozenBackbone, "forward", spoilt(FrozenBackbone.forward, value, at=6))
        with pytest.raises(FeatureError) as caught:
            extract(extraction(dataset, tmp_path / "c", **options))
    third = load_annotations(dataset)[0].images[2]
    expected = f"image {third.file_name} (id {third.id}), view 1, level c4: {said}"
    assert str(caught.value).startswith(expected)
    assert not (tmp_path / "c" / "manifest.json").exists()
    extract(extraction(dataset, tmp_path / "c", **options))
    extract(extraction(dataset, tmp_path / "clean", **options))
    assert tree(tmp_path / "c") == tree(tmp_path / "clean")


def test_weights_that_overflow_are_refused_in_fp16_and_kept_in_fp32(dataset, tmp_path):
    state = load_backbone("test_resnet", weights="random")._net.model.state_dict()
    # A large bias of the last normalisation of every block goes straight to the maps.
    large = {n: v + 1e7 if n.endswith("bn2.bias") else v.clone() for n, v in state.items()}
    save_file(large, tmp_path / "w.safetensors")
    options = {
        "backbone": "test_resnet",
        "weights": str(tmp_path / "w.safetensors"),
        "size": 64,
        "limit": 2,
    }
    with pytest.raises(FeatureError, match=r"image 10\.png \(id 10\), view 0, .*codec fp16 ends"):
        extract(extraction(dataset, tmp_path / "c", **options, codec="fp16"))
    extract(extraction(dataset, tmp_path / "d", **options, codec="fp32"))
    assert np.abs(FeatureCache.open(tmp_path / "d").sample(10).stored[-1]).max() > 65504


def test_a_folder_with_other_things_in_it_is_refused(dataset, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not empty \(notes\.txt, \.\.\.\) and holds no cache"):
        extract(extraction(dataset, tmp_path, size=64))
    assert list(tmp_path.iterdir()) == [tmp_path / "notes.txt"]


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/fdet/cache"])
def test_a_place_that_cannot_be_written_is_named(out, dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        extract(extraction(dataset, tmp_path / out, size=64))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"short": 64, "long": 128}, "give either --size N"),
        ({"size": None}, "give either --size N"),
        ({"size": None, "long": 64}, "--long is the limit of --short; give both, or"),
        ({"size": 0}, "--size: expected 1 to 65536, got 0"),
        ({"size": None, "short": 9, "long": 5}, "--short and --long: expected 1 <= short <= long"),
        ({"batch_size": 0}, "--batch-size: expected at least 1"),
        ({"threads": 0}, "--threads: expected at least 1"),
        ({"shard_mb": 0}, "--shard-mb: expected at least 1"),
        ({"limit": 0}, "--limit: expected at least 1"),
        ({"workers": -1}, "--workers: expected 0 to 1024"),
        ({"seed": -1}, "--seed: expected 0 to 9223372036854775807"),
        ({"seed": 2**70}, "--seed: expected 0 to 9223372036854775807"),
        ({"device": "toaster"}, "--device toaster: not usable here"),
        ({"store": "hfd5"}, "--store 'hfd5'; did you mean 'hdf5'?"),
        ({"rank": 0}, "--rank and --world belong together"),
        ({"world": 2}, "--rank and --world belong together"),
        ({"rank": 2, "world": 2}, "--rank: expected 0 to 1, got 2"),
        ({"rank": -1, "world": 2}, "--rank: expected 0 to 1, got -1"),
        ({"rank": 0, "world": 0}, "--world: expected at least 1, got 0"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(change, said, dataset, tmp_path):
    with pytest.raises(InputError) as caught:
        extract(extraction(dataset, tmp_path / "c", **change))
    assert said in str(caught.value)
    assert not any(tmp_path.rglob("*.json"))


def test_dropped_boxes_are_reported(dataset, tmp_path, caplog):
    data = json.loads(dataset.read_text())
    for k, box in enumerate(([5, 5, 0, 3], [5, 5, 3, 0], [900, 5, 9, 9])):
        data["annotations"][k]["bbox"] = box
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(data))
    extract(extraction(path, tmp_path / "c", images=dataset.parent / "images", size=64, limit=1))
    messages = [record.getMessage() for record in caplog.records]
    assert f"{path}: 2 boxes of zero size are left out" in messages
    assert f"{path}: 1 box outside the image is left out" in messages
