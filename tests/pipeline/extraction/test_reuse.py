"""`fdet extract --update`: only what changed is computed, and the bytes are those of a fresh run."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from fdet.cache.errors import CorruptCache, IncompleteCache, InputError, KeyMismatch
from fdet.cache.reader import FeatureCache
from fdet.cache.stores.zarr_store import ZarrStore
from fdet.pipeline.extraction.extract import extract

from ...generated import make_dataset
from ..command_server import Moment
from ..quick import QUICK, command, flip_bit, quick, records, sample_place, tree

JITTER = "plain,scale=0.7..1.4"


class DataSet:
    """A copy of the generated data set, to be changed."""

    def __init__(self, folder: Path, images: int = 12) -> None:
        self.path = make_dataset(folder, images)
        self.folder = folder / "images"
        self.data = json.loads(self.path.read_text())

    def image(self, number: int) -> dict:
        return self.data["images"][number]

    def file(self, number: int) -> Path:
        return self.folder / self.image(number)["file_name"]

    def renumber(self, number: int, image_id: int) -> None:
        for box in self.data["annotations"]:
            if box["image_id"] == self.image(number)["id"]:
                box["image_id"] = image_id
        self.image(number)["id"] = image_id

    def drop(self, *numbers: int) -> None:
        gone = {self.image(number)["id"] for number in numbers}
        for name, key in (("images", "id"), ("annotations", "image_id")):
            self.data[name] = [x for x in self.data[name] if x[key] not in gone]

    def save(self) -> Path:
        self.path.write_text(json.dumps(self.data))
        return self.path


def nothing(new):
    pass


def added(new):
    new.data["images"].insert(4, {**new.image(0), "id": 5, "file_name": "sub/new.png"})
    Image.effect_noise((128, 128), 60).convert("RGB").save(new.file(4))


def removed(new):
    new.file(7).unlink()
    new.drop(7)


def renamed(new):
    target = new.folder / "moved" / "here.png"
    target.parent.mkdir()
    new.file(2).rename(target)
    new.image(2)["file_name"] = "moved/here.png"


def edited(new):
    with Image.open(new.file(3)) as picture:
        ImageOps.invert(picture).save(new.file(3))


def rewritten(new):
    """The same pixels in other bytes: the file is taken for another one."""
    with Image.open(new.file(3)) as picture:
        picture.save(new.file(3), compress_level=1)


def renumbered(new):
    new.renumber(5, 4711)


def reordered(new):
    new.data["images"].reverse()


def exchanged(new):
    """Two files trade their names: each one's features go with the file."""
    one, other = new.file(0), new.file(11)
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def copied(new):
    new.data["images"].append({**new.image(6), "id": 99, "file_name": "copy.png"})
    shutil.copy(new.file(6), new.folder / "copy.png")


def relabelled(new):
    new.data["annotations"] = new.data["annotations"][:3]


def cropped(new):
    new.image(8)["height"] = 96
    with Image.open(new.file(8)) as picture:
        picture.crop((0, 0, 128, 96)).save(new.file(8))


# what changed, images that are computed
CHANGES = [
    (nothing, 0),
    (added, 1),
    (removed, 0),
    (renamed, 0),
    (edited, 1),
    (rewritten, 1),
    (renumbered, 0),
    (reordered, 0),
    (exchanged, 0),
    (copied, 0),
    (relabelled, 0),
    (cropped, 1),
]


def check_update(new, older, computed, tmp_path, passes, **options):
    """Update, hold it against a fresh extraction, and count what went through the backbone."""
    before = tree(older)
    passes.clear()
    summary = extract(quick(new.save(), tmp_path / "updated", update=older, **options))
    images = len(new.data["images"])
    assert (summary.written, summary.reused) == (2 * images, 2 * (images - computed))
    assert passes["samples"] == 2 * computed
    extract(quick(new.path, tmp_path / "fresh", **options))
    assert tree(tmp_path / "updated") == tree(tmp_path / "fresh")
    assert tree(older) == before, "the older cache stays as it is"


@pytest.mark.parametrize(("change", "computed"), CHANGES, ids=[c.__name__ for c, _ in CHANGES])
def test_only_what_changed_is_computed_and_the_bytes_are_those_of_a_fresh_run(
    change, computed, quick_caches, tmp_path, passes
):
    new = DataSet(tmp_path / "new")
    change(new)
    check_update(new, quick_caches["zarr"], computed, tmp_path, passes)


def test_all_that_can_happen_to_a_data_set_at_once(whole, store, tmp_path, passes):
    new = DataSet(tmp_path / "new")
    several = (edited, cropped, renumbered, renamed, exchanged, copied, added, removed, reordered)
    for change in several:
        change(new)
    check_update(new, whole, 3, tmp_path, passes, store=store)


def test_random_views_hang_on_the_images_id(dataset, tmp_path, passes):
    extract(quick(dataset, tmp_path / "old", views=JITTER))
    new = DataSet(tmp_path / "new")
    renumbered(new)
    check_update(new, tmp_path / "old", 1, tmp_path, passes, views=JITTER)


def test_an_image_may_go_from_one_canvas_to_another(tmp_path, passes):
    aspect = {"size": None, "short": 64, "long": 128}
    old, new = DataSet(tmp_path / "old"), DataSet(tmp_path / "new")
    extract(quick(old.path, tmp_path / "old.fdet", **aspect))
    new.image(0)["height"] = 64
    with Image.open(new.file(0)) as picture:
        picture.crop((0, 0, 128, 64)).save(new.file(0))
    check_update(new, tmp_path / "old.fdet", 1, tmp_path, passes, **aspect)


def test_an_image_that_failed_before_is_tried_again(tmp_path, passes):
    data = DataSet(tmp_path / "data")
    sound = data.file(4).read_bytes()
    data.file(4).write_bytes(b"no image")
    assert extract(quick(data.path, tmp_path / "old")).failed
    data.file(4).write_bytes(sound)
    passes.clear()
    summary = extract(quick(data.path, tmp_path / "updated", update=tmp_path / "old"))
    assert (summary.reused, summary.failed, passes["samples"]) == (22, {}, 2)
    extract(quick(data.path, tmp_path / "fresh"))
    assert tree(tmp_path / "updated") == tree(tmp_path / "fresh")


def test_an_image_that_cannot_be_read_any_more_fails(quick_caches, tmp_path):
    data = DataSet(tmp_path / "data")
    data.file(4).write_bytes(b"no image")
    summary = extract(quick(data.path, tmp_path / "updated", update=quick_caches["zarr"]))
    assert (summary.reused, list(summary.failed)) == (22, [data.image(4)["file_name"]])
    extract(quick(data.path, tmp_path / "fresh"))
    assert tree(tmp_path / "updated") == tree(tmp_path / "fresh")


@pytest.mark.parametrize(("older", "newer"), [("zarr", "hdf5"), ("hdf5", "zarr")])
def test_another_store_takes_over_too(older, newer, dataset, quick_caches, tmp_path, passes):
    update = quick(dataset, tmp_path / "c", store=newer, update=quick_caches[older])
    assert extract(update).reused == 24
    assert passes["samples"] == 0
    assert tree(tmp_path / "c") == tree(quick_caches[newer])


def test_other_versions_of_the_containers_libraries_are_no_obstacle(
    dataset, quick_caches, tmp_path, monkeypatch, passes
):
    with monkeypatch.context() as patched:
        patched.setattr(ZarrStore, "versions", lambda _: {"zarr": "2.18.0", "zstandard": "0.1"})
        extract(quick(dataset, tmp_path / "old"))
    passes.clear()
    assert extract(quick(dataset, tmp_path / "c", update=tmp_path / "old")).reused == 24
    assert passes["samples"] == 0
    assert tree(tmp_path / "c") == tree(quick_caches["zarr"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"codec": "fp16"}, "codec: fp16 here, fp32 there"),
        ({"size": 96}, "short: 96 here, 64 there"),
        ({"views": "plain"}, "views: "),
        ({"seed": 1}, "seed: 1 here, 0 there"),
        ({"batch_size": 2}, "batch_size: 2 here, 1 there"),
        ({"levels": "c2"}, "levels: c2(stride 4"),
        ({"precision": "bf16"}, "precision: bf16 here, fp32 there"),
        ({"backbone": "test_vit", "levels": "block1"}, "backbone: test_vit here"),
    ],
)
def test_a_cache_of_other_features_is_refused_with_what_differs(
    change, named, dataset, quick_caches, tmp_path
):
    options = {**QUICK, **change}
    with pytest.raises(KeyMismatch) as caught:
        extract(quick(dataset, tmp_path / "c", update=quick_caches["zarr"], **options))
    assert f"--update {quick_caches['zarr']}: made from other inputs" in str(caught.value)
    assert named in str(caught.value)
    assert records(tmp_path / "c") == []


def test_what_is_refused_leaves_nothing_behind_that_would_refuse_the_right_command(
    dataset, quick_caches, tmp_path
):
    for older in (quick_caches["zarr"], tmp_path / "absent"):
        with pytest.raises((KeyMismatch, InputError)):
            extract(quick(dataset, tmp_path / "c", update=older, codec="fp16"))
    assert extract(quick(dataset, tmp_path / "c", update=quick_caches["zarr"])).reused == 24


def test_a_damaged_sample_stops_it_and_nothing_is_lost(dataset, whole, store, tmp_path, passes):
    older = shutil.copytree(whole, tmp_path / "old")
    image = FeatureCache.open(older).header.layout.shards[2].images[1]
    place = sample_place(older, image.id, view=1)
    flip_bit(*place)
    config = quick(dataset, tmp_path / "c", store=store, update=older)
    said = f"{place[0]}: shard 64x64-2, level c1, slot 3 (image {image.id}, view 1)"
    with pytest.raises(CorruptCache, match=re.escape(said)):
        extract(config)
    assert records(tmp_path / "c") == ["64x64-0", "64x64-1"]
    flip_bit(*place)
    assert extract(config).written == 12
    assert passes["samples"] == 0
    assert tree(tmp_path / "c") == tree(whole)


@pytest.mark.parametrize("spelled", ["c", "./c", "x/../c", "link"])
def test_the_same_folder_is_refused(spelled, dataset, quick_caches, tmp_path, monkeypatch):
    out = shutil.copytree(quick_caches["zarr"], tmp_path / "c")
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(out)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="choose another --out"):
        extract(quick(dataset, out, update=Path(spelled)))
    assert tree(out) == tree(quick_caches["zarr"])


def test_what_is_no_whole_cache_is_refused(dataset, quick_caches, tmp_path):
    older = shutil.copytree(quick_caches["zarr"], tmp_path / "old")
    (older / "manifest.json").unlink()
    with pytest.raises(IncompleteCache):
        extract(quick(dataset, tmp_path / "c", update=older))
    with pytest.raises(InputError, match="is not a cache"):
        extract(quick(dataset, tmp_path / "c", update=tmp_path / "x"))


def test_a_finished_update_does_not_need_the_older_cache_any_more(
    dataset, quick_caches, tmp_path, passes
):
    older = shutil.copytree(quick_caches["zarr"], tmp_path / "old")
    config = quick(dataset, tmp_path / "c", update=older)
    extract(config)
    shutil.rmtree(older)
    assert extract(config).written == passes["samples"] == 0


def test_several_processes_take_over_together(dataset, quick_caches, tmp_path, passes):
    new = DataSet(tmp_path / "new")
    edited(new)
    new.save()
    for rank in (2, 0, 1):
        older = quick_caches["hdf5"]
        extract(quick(new.path, tmp_path / "c", update=older, rank=rank, world=3))
    assert passes["samples"] == 2
    extract(quick(new.path, tmp_path / "fresh"))
    assert tree(tmp_path / "c") == tree(tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.parametrize("update", [True, False])
def test_killed_half_way_it_goes_on_with_the_older_cache_or_without(
    update, commands, whole, store, tmp_path, passes
):
    new = DataSet(tmp_path / "new")
    edited(new)
    out = tmp_path / "c"
    words = command(new.save(), out, store=store, update=whole)
    assert commands.run(words, Moment("os.link", "/commits/64x64-2")) == -signal.SIGKILL
    assert records(out) == ["64x64-0", "64x64-1"]
    summary = extract(quick(new.path, out, store=store, update=whole if update else None))
    assert (summary.written, passes["samples"]) == (12, 0 if update else 12)
    extract(quick(new.path, tmp_path / "fresh", store=store))
    assert tree(out) == tree(tmp_path / "fresh")
