"""Every question, on a cache of each codec and store, and on one where things went wrong."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from fdet.cache.codecs.form import NUMBERS
from fdet.pipeline.dataset.images.canvases import recipe_of, render
from fdet.pipeline.tools.browsing.answers import ANSWERS, answer
from fdet.pipeline.tools.browsing.collection import open_collection
from fdet.pipeline.tools.browsing.heat import heat_map
from fdet.pipeline.tools.upkeep.convert import Conversion, convert

from .serving import DAMAGED, FAILED, HOSTILE_CLASS, RENAMED, asked, get, serving

ONE_STORE = pytest.mark.parametrize("store", ["zarr"])


def unpacked(array, kind):
    return np.frombuffer(base64.b64decode(array["data"]), kind).reshape(array["shape"])


def ids_of(answer):
    return [int(image["id"]) for image in answer["images"]]


@pytest.mark.parametrize("codec", [*NUMBERS, "fp16+pca", "int5+pca3"])
def test_every_question_is_answered_for_each_codec(codec, whole, tmp_path, dataset):
    root = whole
    if codec != "fp32":
        root = tmp_path / "c.fdet"
        convert(whole, root, Conversion(codec=codec))
    collection = open_collection(root, dataset.parent / "images", None)
    image_id = collection.cache.image_ids[1]
    with serving(collection) as server:
        for name in ANSWERS:
            for level in (0, 1):
                answer = asked(server, name, image=image_id, view=1, level=level)
                assert answer and "error" not in answer
        for show in ("pca", "component", "channel"):
            found = asked(server, "heat", image=image_id, show=show, number=1)
            planes = unpacked(found["planes"], "<f4")
            assert planes.shape[0] == (3 if show == "pca" else 1) and np.isfinite(planes).all()


def test_a_channel_is_what_the_cache_holds(server, collection):
    image_id = collection.cache.image_ids[2]
    for level in (0, 1):
        answer = asked(
            server, "heat", image=image_id, view=1, level=level, show="channel", number=5
        )
        stored = collection.cache.sample(image_id, 1).stored[level][5:6]
        assert np.array_equal(unpacked(answer["planes"], "<f4"), stored)
        assert (answer["low"], answer["high"]) == (stored.min(), stored.max())


def test_the_picture_is_the_canvas_that_was_extracted(server, collection, dataset):
    recipe = recipe_of(collection.cache.header.key, dataset.parent / "images")
    for view in (0, 1):
        image = collection.cache.header.layout.images[0]
        answer = asked(server, "picture", image=image.id, view=view)
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["png"]))))
        assert np.array_equal(shown, render(recipe, image, (view,)).pixels[0])
        assert answer["changed"] is False


def test_an_image_file_that_was_changed_is_told(odd_server, odd):
    answer = asked(odd_server, "picture", image=RENAMED)
    assert not answer["changed"]
    (path,) = (odd.parent / "images").glob("<img*")
    with Image.open(path) as image:
        size = image.size
    Image.new("RGB", size).save(path)
    assert asked(odd_server, "picture", image=RENAMED)["changed"]


def test_boxes_go_through_the_placement(server, collection):
    annotations = collection.annotations
    image_id = next(i for i, n in collection.box_counts.items() if n > 2)
    for view in (0, 1):
        answer = asked(server, "sample", image=image_id, view=view)
        objects, place = (
            annotations.of_image(image_id),
            collection.cache.entry(image_id, view).placement,
        )
        expected = place.to_canvas(torch.from_numpy(objects.boxes.copy()))
        assert np.allclose([box["box"] for box in answer["boxes"]], expected)
        assert [box["label"] for box in answer["boxes"]] == objects.labels.tolist()
        assert answer["flip"] == [view == 1, False]


def test_the_list_is_searched_filtered_and_cut_into_pages(server, collection, monkeypatch):
    everything = ids_of(asked(server, "images"))
    assert everything == [image.id for image in collection.cache.header.layout.images]
    assert ids_of(asked(server, "images", words="SUB")) == [
        i for i in everything if collection.images[i].file_name.startswith("sub/")
    ]
    assert ids_of(asked(server, "images", words="sub%20nothing")) == []
    assert ids_of(asked(server, "images", words=everything[3])) == [everything[3]]
    assert ids_of(asked(server, "images", show="failed")) == []
    with_boxes = ids_of(asked(server, "images", show="boxes"))
    assert with_boxes == [i for i in everything if collection.box_counts[i]] != everything
    monkeypatch.setattr("fdet.pipeline.tools.browsing.facts.PAGE", 5)
    pages = [asked(server, "images", offset=k) for k in (0, 5, 10)]
    assert [i for page in pages for i in ids_of(page)] == everything
    assert {page["total"] for page in pages} == {12}
    around = asked(server, "images", around=everything[7])
    assert (around["offset"], ids_of(around)) == (5, everything[5:10])
    assert asked(server, "images", offset=500)["images"] == []


def test_images_of_a_class(server, collection):
    annotations = collection.annotations
    for label in range(len(annotations.class_names)):
        expected = {
            image.id
            for image in annotations.images
            if label in annotations.of_image(image.id).labels.tolist()
        }
        assert set(ids_of(asked(server, "images", label=label))) == expected
    assert ids_of(asked(server, "images", label=99)) == []


def test_sizes_are_those_of_the_frames(server, collection):
    answer = asked(server, "sizes")
    cache, total = collection.cache, np.zeros(2, int)
    for image_id in cache.image_ids:
        for view in (0, 1):
            total += [chunk.length for chunk in cache.entry(image_id, view).chunks]
    by_level = [
        sum(row["bytes"] for row in answer["rows"] if row["level"] == n) for n in ("c1", "c2")
    ]
    assert by_level == total.tolist()
    assert answer["whole"] == cache.manifest.stored_bytes > sum(by_level)
    assert all(row["raw"] > row["bytes"] > 0 for row in answer["rows"])


def test_a_failed_image_is_listed_with_its_reason(odd_server):
    (list_images,) = asked(odd_server, "images", show="failed")["images"]
    assert (int(list_images["id"]), list_images["failed"]) == (
        FAILED,
        "not an image that can be read",
    )
    sample = asked(odd_server, "sample", image=FAILED)
    assert (sample["failed"], sample["bytes"]) == (list_images["failed"], [])
    for name in ("heat", "histogram", "channels"):
        assert "failed at extraction" in asked(odd_server, name, image=FAILED)["error"]
    assert "not an image" in asked(odd_server, "picture", image=FAILED)["error"]


def test_a_damaged_sample_says_so_and_its_other_view_is_there(odd_server):
    for name in ("heat", "histogram", "channels"):
        assert f"image {DAMAGED}, view 0" in asked(odd_server, name, image=DAMAGED)["error"]
        assert "error" not in asked(odd_server, name, image=DAMAGED, view=1)
    assert asked(odd_server, "heat", image=RENAMED, show="pca")["about"].endswith("over 3 images")
    assert "error" not in asked(odd_server, "sizes")


def test_names_that_would_deceive_are_shown_as_they_are(odd_server):
    names = [image["name"] for image in asked(odd_server, "images")["images"]]
    assert "<img src=x onerror=alert(1)>\\u202egnp.png" in names
    assert HOSTILE_CLASS in asked(odd_server, "about")["classes"]


@ONE_STORE
def test_without_images_all_but_the_picture_is_there(whole):
    with serving(open_collection(whole, None, None)) as server:
        image_id = asked(server, "images")["images"][0]["id"]
        assert not asked(server, "about")["pictured"]
        assert "give --images DIR" in asked(server, "picture", image=image_id)["error"]
        assert "error" not in asked(server, "heat", image=image_id)


@ONE_STORE
def test_what_the_cache_does_not_hold_is_told(server):
    for name in ("sample", "picture", "heat", "histogram", "channels"):
        assert "is not in this cache" in asked(server, name, image=11)["error"]
    for name, values in (
        ("histogram", {"channel": 999}),
        ("heat", {"show": "channel", "number": 999}),
    ):
        assert "this level has 0 to" in asked(server, name, image=10, **values)["error"]
    assert (
        "this level has 0 to 2"
        in asked(server, "heat", image=10, show="component", number=3)["error"]
    )
    assert get(server, f"/{server.token}/heat?image=10&show=all").status == 400


@ONE_STORE
def test_other_annotations(whole, dataset, tmp_path):
    text = dataset.read_text()
    (tmp_path / "renamed.json").write_text(text.replace('"disc"', '"ring"'))
    collection = open_collection(whole, None, tmp_path / "renamed.json")
    assert "ring" in collection.annotations.class_names


@ONE_STORE
def test_a_damaged_copy_of_the_annotations_costs_the_boxes_alone(odd, caplog):
    (odd / "annotations.json.zst").write_bytes(b"x")
    with serving(open_collection(odd, None, None)) as server:
        assert "give --annotations FILE" in caplog.text
        about = asked(server, "about")
        assert (about["annotated"], about["classes"]) == (False, [])
        assert asked(server, "images")["images"][0]["boxes"] is None
        assert asked(server, "sample", image=RENAMED)["boxes"] is None
        assert asked(server, "images", show="boxes", label=0)["total"] == 0


@ONE_STORE
def test_values_that_are_not_finite_come_through_and_spoil_no_range(collection):
    """No codec stores them; a cache that another program wrote may hold them."""
    maps = np.array([[[1, np.nan], [-3, 2]], [[4, np.inf], [1, 2]]], np.float32)
    collection.__dict__["maps"] = lambda sample: (maps,)
    channel = heat_map(collection, (10, 0), 0, "channel", 0)
    assert np.isnan(channel["planes"][0, 0, 1])
    assert (channel["low"], channel["high"]) == (-3, 2)
    assert np.isfinite(heat_map(collection, (10, 0), 0, "norm", 0)["high"])
    for name in ("heat", "histogram", "channels"):
        assert b"NaN" not in answer(collection, name, "image=10")
