"""What a run is trained on: one cache or several, from the disk or from memory, whole or damaged."""

import json
import logging
import os
import re
import shutil
import signal
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from fdet.cache.errors import CorruptCache, FdetError, InputError, KeyMismatch
from fdet.cache.format.header import CacheHeader
from fdet.cache.reader import FeatureCache
from fdet.cache.resident import resident_bytes
from fdet.cache.sampler import Sampler
from fdet.pipeline.cli import app
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.sources import residence
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.step import Stepper
from fdet.pipeline.training.train import train

from ...conftest import extraction
from ..quick import damage

SMALL = ("neck.channels=8", "neck.max_level=5", "train.batch_size=2", "train.epochs=2")


def small(*more):
    return load_config(head="retinanet", assignments=[*SMALL, *more])


def weights(run):
    return load_file(run / "last.safetensors")


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def losses(run):
    return [line["losses"] for line in metrics_log.read(run) if line["kind"] == "train"]


@pytest.fixture(scope="module")
def plain_run(exact_cache, tmp_path_factory):
    """Two epochs on the one undamaged cache, everything from the disk."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    train(small(), TrainOptions(cache=exact_cache, out=out, threads=1, resident="none"))
    return out


@pytest.fixture(scope="module")
def parts(dataset, tmp_path_factory):
    """The first and the last six images, in two stores; both name all twelve in their annotations."""
    folder = tmp_path_factory.mktemp("parts")
    data = json.loads(dataset.read_text())
    data["images"] = data["images"][6:] + data["images"][:6]
    (folder / "turned.json").write_text(json.dumps(data))
    exact = {"views": "plain,hflip", "codec": "fp32", "limit": 6}
    images = dataset.parent / "images"
    extract(extraction(dataset, folder / "a.fdet", **exact))
    extract(
        extraction(folder / "turned.json", folder / "b.fdet", images=images, store="hdf5", **exact)
    )
    return [folder / "a.fdet", folder / "b.fdet"]


@pytest.fixture
def seen(monkeypatch):
    """seen[epoch]: how often each image came."""
    counted = {}
    original = Stepper.step

    def counting(stepper, batches, size, number, total):
        epoch = number * stepper.config.train.epochs // total
        count = counted.setdefault(epoch, Counter())
        given = (count.update(batch.image_ids) or batch for batch in batches)
        return original(stepper, given, size, number, total)

    monkeypatch.setattr(Stepper, "step", counting)
    return counted


def test_two_caches_train_as_one_that_holds_the_same_images_bit_for_bit(
    parts, plain_run, tmp_path, seen
):
    train(small(), TrainOptions(cache=parts, out=tmp_path / "run", threads=1))
    assert losses(tmp_path / "run") == losses(plain_run)
    assert_same_weights(weights(tmp_path / "run"), weights(plain_run))
    assert set(seen) == {0, 1}
    assert all(set(epoch.values()) == {1} and len(epoch) == 12 for epoch in seen.values())


def test_the_order_of_the_caches_plays_no_part(parts, plain_run, tmp_path):
    options = TrainOptions(cache=parts[::-1], out=tmp_path / "run", threads=1)
    assert train(small(), options).steps == 12
    assert losses(tmp_path / "run") == losses(plain_run)
    assert_same_weights(weights(tmp_path / "run"), weights(plain_run))


@pytest.fixture(scope="module")
def batched(parts, dataset):
    """As the second part, the same images in the same slots, but made two images a pass."""
    out, images = parts[1].parent / "batched.fdet", dataset.parent / "images"
    exact = {"views": "plain,hflip", "codec": "fp32", "limit": 6, "store": "hdf5"}
    turned = parts[1].parent / "turned.json"
    extract(extraction(turned, out, images=images, batch_size=2, **exact))
    return out


@pytest.mark.parametrize("other", ["fewer", "turned round", "another second one"])
def test_a_run_on_several_caches_goes_on_with_these_alone(other, parts, batched, tmp_path):
    options = TrainOptions(cache=parts, out=tmp_path / "run", threads=1)
    train(small("train.epochs=1"), options)
    assert train(small("train.epochs=1"), replace(options, resume=True)).steps == 6
    others = {
        "fewer": parts[:1],
        "turned round": parts[::-1],
        "another second one": [parts[0], batched],
    }
    with pytest.raises(InputError, match="training data"):
        train(small("train.epochs=1"), replace(options, cache=others[other], resume=True))


def test_caches_of_other_features_are_not_read_as_one(parts, dataset, tmp_path):
    extract(extraction(dataset, tmp_path / "half.fdet", views="plain,hflip", limit=1))
    options = TrainOptions(cache=[parts[1], tmp_path / "half.fdet"], out=tmp_path / "run")
    with pytest.raises(KeyMismatch, match="codec: fp32 here, int5 there"):
        train(small(), options)
    assert not (tmp_path / "run").exists()


def test_an_image_that_stands_in_two_caches_is_refused(parts, exact_cache, tmp_path):
    options = TrainOptions(cache=[exact_cache, parts[0]], out=tmp_path / "run")
    with pytest.raises(InputError, match="image id 10 is in both"):
        train(small(), options)


def test_online_training_takes_one_cache(parts, dataset, tmp_path):
    options = TrainOptions(
        cache=parts, out=tmp_path / "run", source="online", images=dataset.parent / "images"
    )
    with pytest.raises(InputError, match="takes one cache, got 2"):
        train(small(), options)


@pytest.mark.parametrize("resident", ["auto", "ram", "device"])
def test_samples_in_memory_give_the_same_weights_bit_for_bit(
    resident, exact_cache, plain_run, tmp_path, monkeypatch
):
    read = Counter()
    read_into = FeatureCache.read_into

    def counting(cache, samples, maps):
        read.update(samples)
        return read_into(cache, samples, maps)

    monkeypatch.setattr(FeatureCache, "read_into", counting)
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", threads=1, resident=resident)
    train(small(), options)
    assert losses(tmp_path / "run") == losses(plain_run)
    assert_same_weights(weights(tmp_path / "run"), weights(plain_run))
    assert set(read.values()) == {1}, "each sample is read once"


def test_samples_of_several_caches_in_memory(parts, plain_run, tmp_path):
    options = TrainOptions(cache=parts, out=tmp_path / "run", threads=1, resident="ram")
    train(small("train.workers=3"), options)
    # The number of reading threads is a setting: the state is the same, its digest is not.
    assert_same_weights(weights(tmp_path / "run"), weights(plain_run))


def test_what_does_not_fit_is_refused_or_read_from_the_disk(
    exact_cache, plain_run, tmp_path, monkeypatch
):
    needed = resident_bytes(FeatureCache.open(exact_cache).header)
    monkeypatch.setattr(residence, "free_memory", lambda device: needed - 1)
    options = TrainOptions(cache=exact_cache, out=tmp_path / "run", threads=1, resident="ram")
    with pytest.raises(InputError, match="--resident ram: the samples need"):
        train(small(), options)
    assert not (tmp_path / "run").exists()
    train(small(), replace(options, resident="auto"))
    assert_same_weights(weights(tmp_path / "run"), weights(plain_run))


@pytest.fixture
def damaged(exact_cache, tmp_path):
    """Both views of two images are damaged."""
    root = shutil.copytree(exact_cache, tmp_path / "damaged.fdet")
    for image_id in (10, 59):
        for view in (0, 1):
            damage(root, image_id, view, level=1)
    return root


def test_by_default_a_damaged_sample_stops_the_run_and_is_named(damaged, tmp_path):
    options = TrainOptions(cache=damaged, out=tmp_path / "run", threads=1)
    with pytest.raises(CorruptCache, match=r"level c4, slot \d+ \(image (10|59), view [01]\)"):
        train(small(), options)


@pytest.mark.parametrize("size", [1, 2, 12])
@pytest.mark.parametrize("resident", ["none", "ram"])
def test_damaged_samples_are_left_out_and_counted_aloud(
    size, resident, damaged, tmp_path, seen, caplog
):
    caplog.set_level(logging.INFO)
    config = small(f"train.batch_size={size}")
    run = tmp_path / "run"
    options = TrainOptions(cache=damaged, out=run, threads=1, on_corrupt="skip", resident=resident)
    summary = train(config, options)
    assert summary.steps == 24 // size
    for epoch in seen.values():
        assert set(epoch.values()) == {1} and len(epoch) == 10 and not {10, 59} & set(epoch)
    drawn = summary.skipped
    assert 2 <= drawn <= 4
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("skipped, ")]
    assert len(told) == drawn
    assert all(re.search(r"image (10|59), view [01]", text) for text in told)
    last = metrics_log.read(run)[-1]
    assert last["skipped"] == drawn
    closing = rf"{re.escape(str(damaged))}: {drawn} .*left out as damaged; "
    assert sum(bool(re.search(closing, r.getMessage())) for r in caplog.records) == 1
    assert all(bool(torch.isfinite(v).all()) for v in weights(run).values())


def check_torn(config, options, step, monkeypatch):
    """A run that was interrupted at the end of a step ends with the weights of one that was not."""
    train(config, options)
    torn, original = replace(options, out=options.out.with_name("torn")), Stepper.step

    def interrupting(stepper, batches, size, number, total):
        found = original(stepper, batches, size, number, total)
        if number + 1 == step:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "step", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(config, torn)
    train(config, replace(torn, resume=True))
    assert_same_weights(weights(torn.out), weights(options.out))


def test_a_run_that_skips_is_the_same_run_however_it_was_interrupted(
    damaged, tmp_path, monkeypatch
):
    options = TrainOptions(cache=damaged, out=tmp_path / "whole", threads=1, on_corrupt="skip")
    check_torn(small(), options, 5, monkeypatch)


def test_nothing_but_damage_may_be_left_of_an_epoch(exact_cache, tmp_path, monkeypatch):
    root = shutil.copytree(exact_cache, tmp_path / "c.fdet")
    cache = FeatureCache.open(root)
    batches = Sampler(cache.header.layout, cache.image_ids, 1, 0, 2).batches(0)
    for ((image_id, view),) in batches[-2:]:
        damage(root, image_id, view)
    options = TrainOptions(cache=root, out=tmp_path / "whole", threads=1, on_corrupt="skip")
    check_torn(small("train.batch_size=1"), options, 10, monkeypatch)


@pytest.mark.parametrize("trained_on", ["the same cache", "a sound one"])
def test_validation_never_skips(trained_on, damaged, exact_cache, tmp_path):
    cache, run = damaged if trained_on == "the same cache" else exact_cache, tmp_path / "run"
    options = TrainOptions(cache=cache, val=damaged, out=run, threads=1, on_corrupt="skip")
    with pytest.raises(CorruptCache, match=r"image (10|59), view 0"):
        train(small("train.epochs=1"), options)
    assert {line["kind"] for line in metrics_log.read(run)} == {"train"}, "the steps are kept"


def test_a_cache_of_nothing_but_damage_trains_nothing_and_says_so(exact_cache, tmp_path):
    root = shutil.copytree(exact_cache, tmp_path / "c.fdet")
    for path in root.glob("128x128/*/c.*"):
        path.write_bytes(bytes(path.stat().st_size))
    options = TrainOptions(cache=root, out=tmp_path / "run", threads=1, on_corrupt="skip")
    with pytest.raises(FdetError, match="damaged"):
        train(small(), options)


@pytest.mark.parametrize("left", ["nothing", "crowds alone"])
def test_a_data_set_without_an_object_trains_nothing_and_says_so(
    left, exact_cache, dataset, tmp_path
):
    data = json.loads(dataset.read_text())
    crowds = [{**entry, "iscrowd": 1} for entry in data["annotations"]]
    data["annotations"] = crowds if left == "crowds alone" else []
    (tmp_path / "empty.json").write_text(json.dumps(data))
    given = {"cache": exact_cache, "out": tmp_path / "run", "threads": 1}
    with pytest.raises(InputError, match="none of its 12 images has an object"):
        train(small(), TrainOptions(annotations=tmp_path / "empty.json", **given))
    assert not (tmp_path / "run").exists()


def test_shuffling_within_shards_is_another_order_of_the_same_images(
    exact_cache, plain_run, tmp_path, seen
):
    for name, workers in (("one", 1), ("three", 3)):
        config = small("train.shuffle_shards=1", f"train.workers={workers}")
        train(config, TrainOptions(cache=exact_cache, out=tmp_path / name, threads=1))
    assert all(set(epoch.values()) == {2} and len(epoch) == 12 for epoch in seen.values())
    assert_same_weights(weights(tmp_path / "one"), weights(tmp_path / "three"))
    assert losses(tmp_path / "one") != losses(plain_run)


def test_the_command_takes_several_caches_and_counts_what_it_skips(parts, tmp_path):
    caches = [shutil.copytree(part, tmp_path / part.name) for part in parts]
    damage(caches[1], 59, view=0)
    damage(caches[1], 59, view=1)
    settings = [word for setting in SMALL for word in ("--set", setting)]
    settings += ["--head", "retinanet"]
    words = ["train-heads", *caches, "--out", tmp_path / "run", "--threads", 1, *settings]
    options = ["--on-corrupt", "skip", "--resident", "none"]
    result = CliRunner().invoke(app, [str(word) for word in [*words, *options]])
    assert result.exit_code == 0, result.output
    left_out = r"^12 steps, .*, (1 damaged sample|2 damaged samples) left out, "
    assert re.search(left_out, result.stdout, re.MULTILINE)


def test_figures_and_pictures_go_to_trackers_and_hooks(exact_cache, dataset, tmp_path):
    pytest.importorskip("tensorboard")
    told = []
    run = tmp_path / "run"
    options = TrainOptions(
        cache=exact_cache,
        val=exact_cache,
        val_images=dataset.parent / "images",
        out=run,
        threads=1,
        track=["tensorboard"],
        hooks=[told.append],
    )
    train(small("train.epochs=1"), options)
    assert [event.line for event in told] == metrics_log.read(run)
    assert [len(event.detections) for event in told] == [0, 12]
    assert len(list((run / "pictures").rglob("*.png"))) == 4
    assert list((run / "tensorboard").iterdir())


def test_a_wrong_image_folder_and_an_unknown_tracker_are_refused_before_a_folder_is_made(
    exact_cache, tmp_path
):
    options = TrainOptions(cache=exact_cache, val=exact_cache, out=tmp_path / "run")
    for change, said in (
        ({"val_images": tmp_path}, "pictures need the folder"),
        ({"track": ["tensorbord"]}, "did you mean 'tensorboard'"),
    ):
        with pytest.raises(InputError, match=said):
            train(small(), replace(options, **change))
    assert not (tmp_path / "run").exists()


def test_a_training_reads_each_header_at_most_twice(parts, exact_cache, tmp_path, monkeypatch):
    """Who needs one gets the opened cache; the first one is also looked at before any is opened."""
    counts = Counter()
    original = CacheHeader.read.__func__

    def read(cls, root, *more):
        counts[root] += 1
        return original(cls, root, *more)

    monkeypatch.setattr(CacheHeader, "read", classmethod(read))
    train(small(), TrainOptions(cache=parts, out=tmp_path / "run", val=exact_cache, threads=1))
    assert counts == {parts[0]: 2, parts[1]: 1, exact_cache: 1}
