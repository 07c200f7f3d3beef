"""Inputs that people really have: one quick test of each kind, from the outside as far as that is quick."""

import argparse
import json
import sys

import pytest
import timm
import torch
from PIL import Image

from fdet.cache.errors import InputError
from fdet.heads.types import Detections
from fdet.pipeline.backbones.fitting import fitting_rule
from fdet.pipeline.backbones.names import near_backbones
from fdet.pipeline.backbones.weights_file import digest, read_sets, read_tensors
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.dataset.data_set import load_annotations, read_data_set
from fdet.pipeline.dataset.images.files import find_images
from fdet.pipeline.evaluation.coco import coco_metrics
from fdet.pipeline.evaluation.engines import ENGINES
from fdet.pipeline.machines.streams import use_tolerant_streams
from fdet.pipeline.pictures.text import legible_names
from fdet.pipeline.runs.advice.remedies import against_divergence
from fdet.pipeline.runs.config import OptimSettings, RunConfig, setting_names
from fdet.pipeline.runs.evaluations import evaluation_path
from fdet.pipeline.runs.position import Position
from fdet.pipeline.runs.suggestions import unknown_setting
from fdet.pipeline.training.divergence import remedies

from .pipeline.backbones.test_fitting import backbone, unpadded, windows
from .pipeline.backbones.test_weights_names import bare, found_in, state, with_prefix
from .pipeline.dataset.formats.builders import FROM_ZERO, SIZES, coco, draw, draw_all, write


def changed(*, images=None, boxes=None, classes=None) -> dict:
    """A small data set in COCO form, after a change of each image, annotation and category in place."""
    data = coco(FROM_ZERO)
    for name, change in (("images", images), ("annotations", boxes), ("categories", classes)):
        for entry in data[name] if change else ():
            change(entry)
    return data


def parsed(data):
    return parse_annotations(json.dumps(data).encode(), "a.json")


def values(annotations):
    """Everything that training and evaluation use of objects."""
    packed = annotations.packed
    arrays = (packed.boxes, packed.labels, packed.crowd, packed.area, annotations.starts)
    return [array.tolist() for array in arrays]


PLAIN = parsed(coco(FROM_ZERO))


def test_c01_backslashes_are_slashes(tmp_path):
    draw_all(tmp_path / "images" / "a")
    data = changed(images=lambda i: i.update(file_name=f"images\\a\\{i['file_name']}"))
    read = read_data_set(write(tmp_path / "a.json", json.dumps(data)), tmp_path)
    assert all((read.images / image.file_name).is_file() for image in read.annotations.images)


def test_c02_a_file_without_annotations_lists_images():
    data = coco(FROM_ZERO)
    del data["annotations"]
    found = parsed(data)
    assert (len(found.images), len(found.packed)) == (3, 0)
    assert found.warnings() == ["it has no 'annotations': no object is known"]


@pytest.mark.parametrize("number", [1, "5f3e-7", None, [], 2**70])
def test_c03_ids_of_annotations_do_not_matter(number):
    assert values(parsed(changed(boxes=lambda a: a.update(id=number)))) == values(PLAIN)


@pytest.mark.parametrize("name", ["iscrowd", "area"])
def test_c04_null_is_as_absent(name):
    assert values(parsed(changed(boxes=lambda a: a.update({name: None})))) == values(PLAIN)
    assert values(parsed(changed(boxes=lambda a: a.pop(name, None)))) == values(PLAIN)


def as_corners(entry):
    """Of a box in the lower right corner of the image."""
    (columns, rows), (*_, w, h) = list(SIZES.values())[entry["image_id"] - 1], entry["bbox"]
    entry["bbox"] = [columns - w, rows - h, columns, rows]


def as_fractions(entry):
    columns, rows = list(SIZES.values())[entry["image_id"] - 1]
    entry["bbox"] = [v / side for v, side in zip(entry["bbox"], (columns, rows) * 2, strict=True)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (as_corners, "6 of 8 boxes reach beyond their image: they seem to be x1, y1, x2, y2"),
        (as_fractions, "all 8 boxes lie within 0..1: they seem to be fractions"),
    ],
)
def test_c05_boxes_in_another_format_are_said_and_counted(change, said):
    data = changed(boxes=change)
    (warning,) = parsed({**data, "annotations": data["annotations"] * 2}).warnings()
    assert warning.startswith(said)


@pytest.mark.parametrize("area", [0, -7.5])
def test_c07_an_area_of_nothing_is_that_of_the_box(area):
    found = parsed(changed(boxes=lambda a: a.update(area=area)))
    assert values(found) == values(PLAIN)
    assert found.warnings() == ["4 objects have an area of 0 or less: w * h is used"]


def test_c07_sides_below_zero_are_left_out_and_counted():
    data = changed(boxes=lambda a: a.update(bbox=[20, 20, -5, -5]))
    assert parsed(data).warnings() == ["4 boxes of negative size are left out"]


def found_in_all(annotations):
    """Detections that are right but for the last object of each image, by image id."""
    found = {}
    for image in annotations.images:
        objects = annotations.of_image(image.id)
        boxes = torch.tensor(objects.boxes).float().reshape(-1, 4)
        boxes[-1:] += 30
        scores = torch.linspace(0.9, 0.5, len(boxes))
        found[image.id] = Detections(boxes, scores, torch.tensor(objects.labels))
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_c08_large_ids_give_the_same_ap(engine):
    large = parsed(
        changed(
            images=lambda i: i.update(id=i["id"] + 2**53),
            classes=lambda c: c.update(id=c["id"] + 2**54),
            boxes=lambda a: a.update(
                image_id=a["image_id"] + 2**53, category_id=a["category_id"] + 2**54
            ),
        )
    )
    scores = [coco_metrics(a, found_in_all(a), engine).to_json() for a in (PLAIN, large)]
    assert scores[0] == scores[1] and 0 < scores[0]["ap"] < 1


def test_c10_class_names_are_readable_or_ids(caplog):
    unknown = "\U00013000"  # A hieroglyph.
    names = legible_names(("ящик", "円盤", unknown), (7, 8, 9))
    assert names[:2] == ("ящик", "円盤")
    assert names[2] in (unknown, "9") and len(caplog.records) == (names[2] == "9")


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "iso8859-2"])
def test_c11_a_terminal_that_lacks_letters_gets_others(encoding, tmp_path, monkeypatch):
    with (tmp_path / "out").open("w", encoding=encoding) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        use_tolerant_streams()
        print("a ± \U0001f4e6", flush=True)
    text = (tmp_path / "out").read_bytes().decode(encoding)
    assert text.startswith("a ") and text.rstrip().endswith("?")


def test_c13_canvases_fit_the_model_or_one_line_says_what_would(caplog):
    assert fitting_rule(backbone(windows(2)), 224, 224, True).divisor == 64
    with pytest.raises(
        InputError, match=r"^backbone odd_net cannot take .*; no size fits"
    ) as caught:
        fitting_rule(backbone(unpadded), 299, 299, True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "model.module."])
@pytest.mark.parametrize("key", ["model_state_dict", "state_dict_ema", "anything"])
def test_c14_prefixes_and_wrappers_are_taken_off(prefix, key, tmp_path):
    torch.save({key: with_prefix(prefix, state(head=10)), "epoch": 3}, tmp_path / "a.pth")
    (fit,) = found_in(read_sets(tmp_path / "a.pth"))
    assert digest(fit.tensors) == digest(bare(state()))


def test_c15_an_object_in_a_checkpoint_is_named_with_the_line_that_helps(tmp_path):
    file = tmp_path / "a.pth"
    torch.save({"state_dict": state(), "args": argparse.Namespace(lr=0.1)}, file)
    with pytest.raises(InputError, match=r"argparse\.Namespace.*torch\.save\(") as caught:
        read_tensors(file)
    assert "\n" not in str(caught.value) and "..." not in str(caught.value)


def test_c16_all_images_of_a_folder_are_found_and_what_is_skipped_is_said(tmp_path, caplog):
    picture = Image.new("RGB", (8, 8))
    for name, form in (("a.jfif", "JPEG"), ("b.jp2", "JPEG2000"), ("c.pbm", "PPM")):
        picture.save(tmp_path / name, form)
    draw(tmp_path / "linked" / "d.png", (8, 8))
    (tmp_path / "e").symlink_to(tmp_path / "linked")
    draw(tmp_path / ".checkpoints" / "f.png", (8, 8))
    write(tmp_path / "._a.jpg", "Mac OS X")
    write(tmp_path / "notes.docx", "")
    names = [name for _, name in find_images([tmp_path])]
    assert names == ["a.jfif", "b.jp2", "c.pbm", "linked/d.png"]
    (record,) = caplog.records
    assert record.getMessage() == "skipped: 1 .docx, 1 hidden file, 1 hidden folder"


def test_c18_a_name_with_dot_slash_is_the_name_without(tmp_path):
    draw_all(tmp_path / "images")
    data = changed(images=lambda i: i.update(file_name=f"./{i['file_name']}"))
    file = write(tmp_path / "a.json", json.dumps(data))
    for annotations in (read_data_set(file).annotations, load_annotations(file)[0]):
        assert list(annotations.named) == list(SIZES)


def test_c19_evaluations_of_two_caches_of_one_name_stand_side_by_side(tmp_path):
    first = evaluation_path(tmp_path, "val", {"cache": "a" * 64})
    first.write_text(json.dumps({"of": {"cache": "a" * 64}}))
    assert evaluation_path(tmp_path, "val", {"cache": "a" * 64}) == first
    assert evaluation_path(tmp_path, "val", {"cache": "b" * 64}) != first


@pytest.mark.parametrize(
    "change",
    [
        lambda image: (image.pop("width"), image.pop("height")),
        lambda image: image.update(width=0, height=0),
        lambda image: image.update(width=None, height=None),
        lambda image: image.update(width=float(image["width"]), height=float(image["height"])),
    ],
)
def test_c21_sizes_that_are_not_given_come_from_the_files(change, tmp_path):
    draw_all(tmp_path / "images")
    file = write(tmp_path / "a.json", json.dumps(changed(images=change)))
    found = read_data_set(file).annotations
    assert [image.hw[::-1] for image in found.images] == list(SIZES.values())


def test_c23_advice_for_a_diverged_run_is_true(tmp_path):
    assert "lower train.clip_norm" not in against_divergence(0.1, 0, 100, True)
    said = remedies(RunConfig(optim=OptimSettings(lr=0.1)), tmp_path, Position())
    assert said.endswith("; no weights were kept yet"), "the folder is empty"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dinov2_vits14", "vit_small_patch14_dinov2"),
        ("hf_hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("facebook/dinov2-small", "vit_small_patch14_dinov2"),
    ],
)
def test_c26_near_backbones_are_whole_names(name, meant):
    assert near_backbones(name, timm.list_models(), timm.list_pretrained())[0] == meant


def test_c26_a_setting_in_the_wrong_section_is_found_in_its_own():
    said = unknown_setting("train.lr", setting_names())
    assert said == "unknown setting 'train.lr'; did you mean 'optim.lr'?"
