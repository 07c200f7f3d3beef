"""What is written in a format is read as what it was; what the format does not keep is said."""

import errno
import json
import os

import numpy as np
import pytest
import yaml
from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.coco.reading import parse_annotations
from fdet.pipeline.dataset.data_set import read_data_set, splits_of
from fdet.pipeline.dataset.writing.placing import place_image
from fdet.pipeline.dataset.writing.writers import WRITERS

from ..formats.builders import write

CLASSES = ("zebra", "Ä & <b>", "no", "7")
BOXES = (
    [0.1, 2.25, 11.2, 9.7],
    [1 / 3, 0, 39.5, 29],
    [5, 5, 10, 12],
    [30, 20, 20, 20],
    [2, 2, 3, 3],
)


def annotations_of(images: dict[str, list], *, outlines: bool = False, classes=CLASSES):
    """Annotations of images of 40 x 30 px: by name (class, bbox and further fields)."""
    entries, objects = [], []
    for number, (name, given) in enumerate(images.items(), 1):
        entries.append({"id": number, "file_name": name, "width": 40, "height": 30})
        for label, box, *more in given:
            entry = {"image_id": number, "category_id": label, "bbox": box, "iscrowd": 0}
            objects.append(entry | dict(*more))
    categories = [{"id": k, "name": name} for k, name in enumerate(classes)]
    data = {"images": entries, "annotations": objects, "categories": categories}
    return parse_annotations(json.dumps(data).encode(), "a.json", outlines=outlines)


def drawn(folder, annotations):
    """The images, each of its own content."""
    for image in annotations.images:
        path = folder / image.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (image.id, len(str(folder)), 7)).save(path, "PNG")
    return folder


def same_objects(found, wanted, names=None):
    """Boxes within 1e-4 px, classes by name and crowds are the same, image by image."""
    by_name = {image.file_name: image for image in found.images}
    assert len(by_name) == len(wanted.images)
    for image in wanted.images:
        there = by_name[(names or {}).get(image.file_name, image.file_name)]
        mine, theirs = found.of_image(there.id), wanted.of_image(image.id)
        assert there.hw == image.hw
        assert np.abs(mine.boxes - theirs.boxes).max(initial=0) < 1e-4
        assert mine.crowd.tolist() == theirs.crowd.tolist()
        classes = [
            [a.class_names[k] for k in o.labels] for a, o in ((found, mine), (wanted, theirs))
        ]
        assert classes[0] == classes[1]


IMAGES = {
    "x.png": [(k % len(CLASSES), box) for k, box in enumerate(BOXES)],
    "b/x.png": [(3, BOXES[0])],
    "empty.png": [],
}


@pytest.mark.parametrize("to", WRITERS)
def test_what_is_written_is_read_again(to, tmp_path):
    annotations = annotations_of(IMAGES)
    images = drawn(tmp_path / "photos", annotations)
    WRITERS[to](annotations, images, tmp_path / "out", "train")
    WRITERS[to](annotations, images, tmp_path / "out", "val")
    read = {split: read_data_set(tmp_path / "out", split=split) for split in ("train", "val")}
    for data in read.values():
        assert data.format == to
        same_objects(data.annotations, annotations)
        assert data.annotations.warnings() == ["1 of 6 boxes reach beyond their image"]
        assert (data.images / "x.png").samefile(images / "x.png"), "a link, no copy"
    assert read["train"].annotations.class_names == read["val"].annotations.class_names


@pytest.mark.parametrize("to", WRITERS)
def test_a_set_without_splits_is_written_as_one(to, tmp_path):
    annotations = annotations_of(IMAGES)
    WRITERS[to](annotations, drawn(tmp_path / "photos", annotations), tmp_path / "out", None)
    assert splits_of(tmp_path / "out") == (("train",) if to == "yolo" else ())
    same_objects(read_data_set(tmp_path / "out").annotations, annotations)


@pytest.mark.parametrize("to", WRITERS)
def test_the_same_again_changes_nothing(to, tmp_path):
    annotations = annotations_of(IMAGES)
    images = drawn(tmp_path / "photos", annotations)

    def everything():
        WRITERS[to](annotations, images, tmp_path / "out", "train")
        return {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}

    assert everything() == everything()


def test_coco_keeps_everything(tmp_path):
    rings = [[1, 1, 9, 1, 9, 9], [20, 20, 25, 20, 25, 25]]
    runs = {"size": [30, 40], "counts": [0, 31, 1169]}
    data = {
        "images": [
            {"id": 2**60, "file_name": "x.png", "width": 40, "height": 30}
            | {"neg_category_ids": [9], "not_exhaustive_category_ids": []}
        ],
        "categories": [
            {"id": 5, "name": "a", "frequency": "r"},
            {"id": 9, "name": "b", "frequency": "c"},
        ],
        "annotations": [
            {
                "image_id": 2**60,
                "category_id": 5,
                "bbox": [1, 1, 24, 24],
                "area": 44.5,
                "iscrowd": 0,
            }
            | {"segmentation": rings},
            {
                "image_id": 2**60,
                "category_id": 9,
                "bbox": [0.1, 0.2, 0.3, 0.7],
                "area": 31,
                "iscrowd": 1,
            }
            | {"segmentation": runs},
        ],
    }
    annotations = parse_annotations(json.dumps(data).encode(), "a.json", outlines=True)
    images = drawn_one(tmp_path / "photos" / "x.png")
    assert WRITERS["coco"](annotations, images, tmp_path / "out", None) == []
    read = read_data_set(tmp_path / "out", outlines=True).annotations
    assert read.images == annotations.images
    for name in ("class_ids", "class_names", "coverage", "declared", "dropped"):
        assert getattr(read, name) == getattr(annotations, name)
    for name in ("boxes", "labels", "crowd", "area"):
        assert getattr(read.packed, name).tolist() == getattr(annotations.packed, name).tolist()
    assert [read.packed.outlines.coco(k, (30, 40)) for k in (0, 1)] == [rings, runs]


def drawn_one(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(path)
    return path.parent


POLYGON = [1, 1, 9.5, 1, 9.5, 9, 4, 9]
TWO = [POLYGON, [20, 20, 25, 20, 25, 25]]


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_outlines_are_kept_and_several_parts_joined(to, tmp_path):
    one = {"segmentation": [POLYGON], "area": 56.0}
    two = {"segmentation": TWO, "area": 56.0 + 12.5}
    annotations = annotations_of(
        {"x.png": [(0, [1, 1, 8.5, 8], one), (1, [1, 1, 24, 24], two)]}, outlines=True
    )
    images = drawn(tmp_path / "photos", annotations)
    remarks = WRITERS[to](annotations, images, tmp_path / "out", "train")
    assert "1 outline of several parts is joined to one polygon" in remarks
    assert not any("areas" in remark or "boxes" in remark for remark in remarks)
    read = read_data_set(tmp_path / "out", outlines=True).annotations
    same_objects(read, annotations)
    assert read.packed.outlines.coco(0, (30, 40)) == [POLYGON]
    assert read.packed.area.tolist() == pytest.approx([56.0, 68.5])


def test_crowds_are_difficult_objects_in_voc_and_none_in_yolo(tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[0]), (1, BOXES[2], {"iscrowd": 1})]})
    images = drawn(tmp_path / "photos", annotations)
    WRITERS["voc"](annotations, images, tmp_path / "voc", None)
    same_objects(read_data_set(tmp_path / "voc").annotations, annotations)
    remarks = WRITERS["yolo"](annotations, images, tmp_path / "yolo", None)
    assert "1 crowd is left out: YOLO has none" in remarks
    assert len(read_data_set(tmp_path / "yolo").annotations.packed) == 1


def test_what_is_lost_is_said(tmp_path):
    runs = {"size": [30, 40], "counts": [0, 31, 1169]}
    annotations = annotations_of(
        {
            "z.png": [(0, [0, 0, 2, 30], {"segmentation": runs, "area": 31})],
            "a.png": [(1, [1, 1, 9, 9], {"segmentation": [POLYGON], "area": 56})],
        },
        outlines=True,
    )
    images = drawn(tmp_path / "photos", annotations)
    yolo = WRITERS["yolo"](annotations, images, tmp_path / "yolo", None)
    voc = WRITERS["voc"](annotations, images, tmp_path / "voc", None)
    ids = "image ids are not kept: images are numbered from 1 in the order of their names"
    outlines = "1 outline is run lengths and not kept: only its box is"
    areas = "the areas of 1 object are not kept: those of box or polygon are used"
    boxes = "1 box becomes the box around its outline, up to 1 px away"
    assert yolo == [ids, outlines, boxes, areas]
    assert voc == [
        "2 classes without an object in this split are not written: 7, no",
        "class ids are not kept: classes are numbered from 1 in the order of their names",
        *(ids, outlines, areas),
    ]


def test_objects_beyond_the_image_are_clipped_where_yolo_cannot_hold_them(tmp_path):
    annotations = annotations_of({"x.png": [(0, [-50, 5, 100, 10]), (0, [35, 5, 10, 10])]})
    images = drawn(tmp_path / "photos", annotations)
    remarks = WRITERS["yolo"](annotations, images, tmp_path / "out", None)
    assert "1 object that reaches beyond its image is clipped to it" in remarks
    boxes = read_data_set(tmp_path / "out").annotations.packed.boxes.tolist()
    assert boxes == [[0, 5, 40, 15], [35, 5, 45, 15]]


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_images_that_share_a_label_file_or_are_hidden_get_other_names(to, tmp_path):
    names = {
        "a.png": "a.png",
        "a.PNG.png": "a.PNG.png",
        "a.jpg": "a-jpg.jpg",
        ".h/b.png": "x.h/b.png",
    }
    annotations = annotations_of({name: [(k, BOXES[2])] for k, name in enumerate(names)})
    images = drawn(tmp_path / "photos", annotations)
    remarks = WRITERS[to](annotations, images, tmp_path / "out", None)
    assert any("2 images get another name" in r and "a.jpg as a-jpg.jpg" in r for r in remarks)
    same_objects(read_data_set(tmp_path / "out").annotations, annotations, names)


def test_folders_named_images_do_not_confuse_labels(tmp_path):
    annotations = annotations_of({"images/x.png": [(0, BOXES[2])], "y.png": [(1, BOXES[2])]})
    images = drawn(tmp_path / "photos", annotations)
    WRITERS["yolo"](annotations, images, tmp_path / "out", "train")
    same_objects(read_data_set(tmp_path / "out").annotations, annotations)


def test_data_yaml_is_one_of_ultralytics_and_refuses_other_classes(tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[2])]})
    images = drawn(tmp_path / "photos", annotations)
    for split in ("train", "valid", "test"):
        WRITERS["yolo"](annotations, images, tmp_path, split)
    data = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert data == {
        **{"train": "images/train", "val": "images/valid", "test": "images/test"},
        **{"nc": 4, "names": dict(enumerate(CLASSES))},
    }
    other = annotations_of({"x.png": [(0, BOXES[2])]}, classes=("cat",))
    with pytest.raises(
        InputError, match=r"data\.yaml: its classes differ from those of the split val"
    ):
        WRITERS["yolo"](other, images, tmp_path, "val")


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("split", ["../../evil", "/etc/evil", "a/b", ".hidden", ".."])
def test_the_name_of_a_split_leads_nowhere_else(to, split, tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[2])]})
    images = drawn(tmp_path / "photos", annotations)
    before = set(tmp_path.rglob("*"))
    WRITERS[to](annotations, images, tmp_path / "deep" / "out", split)
    new = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert new and all(p.is_relative_to(tmp_path / "deep" / "out") for p in new)
    assert not any(part.startswith(".") for p in new for part in p.relative_to(tmp_path).parts)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_images_are_copied_where_there_are_no_links(code, tmp_path, monkeypatch):
    annotations = annotations_of({"x.png": [(0, BOXES[2])]})
    images = drawn(tmp_path / "photos", annotations)
    link = os.link

    def refusing(source, target, **more):
        if str(source) == str(images / "x.png"):
            raise OSError(code, os.strerror(code))
        link(source, target, **more)

    monkeypatch.setattr(os, "link", refusing)
    WRITERS["coco"](annotations, images, tmp_path / "out", None)
    copy = tmp_path / "out" / "images" / "x.png"
    assert copy.read_bytes() == (images / "x.png").read_bytes()
    assert not copy.samefile(images / "x.png")


def test_a_link_to_an_image_is_not_linked_but_the_image(tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[2])]})
    images = drawn(tmp_path / "photos", annotations)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "x.png").symlink_to(images / "x.png")
    WRITERS["coco"](annotations, tmp_path / "linked", tmp_path / "out", None)
    assert not (tmp_path / "out" / "images" / "x.png").is_symlink()
    read_data_set(tmp_path / "out")


@pytest.mark.parametrize("to", WRITERS)
def test_missing_images_pipes_and_others_in_their_place_are_refused(to, tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[2])]})
    images = drawn(tmp_path / "photos", annotations)
    WRITERS[to](annotations, images, tmp_path / "out", "train")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "other.png")
    os.replace(tmp_path / "other.png", images / "x.png")
    with pytest.raises(
        InputError, match=r"x\.png: it is there already, and differs from .*other --out"
    ):
        WRITERS[to](annotations, images, tmp_path / "out", "train")
    (images / "x.png").unlink()
    with pytest.raises(InputError, match=r"x\.png: No such file or directory; check --images"):
        WRITERS[to](annotations, images, tmp_path / "new", "train")
    os.mkfifo(images / "x.png")
    with pytest.raises(InputError, match=r"x\.png: not a regular file"):
        WRITERS[to](annotations, images, tmp_path / "new", "train")


def test_boxes_of_a_file_before_its_rotation_are_not_written_as_fractions(tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[2])]})
    image = Image.new("RGB", (40, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    write(tmp_path / "x.png", b"")
    image.save(tmp_path / "x.png", exif=exif)
    with pytest.raises(
        InputError, match=r"1 image has another size .*: x\.png \(30x40, annotations 40x30\)"
    ):
        WRITERS["yolo"](annotations, tmp_path, tmp_path / "out", None)


def test_names_that_xml_cannot_hold_are_refused(tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[2])]}, classes=("a\x01",))
    with pytest.raises(InputError, match="XML cannot hold this name"):
        WRITERS["voc"](annotations, drawn(tmp_path, annotations), tmp_path / "out", None)


def test_a_class_without_a_name_gets_its_number(tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[2]), (1, BOXES[2])]}, classes=(" ", "b"))
    images = drawn(tmp_path / "photos", annotations)
    for to in ("yolo", "voc"):
        WRITERS[to](annotations, images, tmp_path / to, None)
        assert "class 0" in read_data_set(tmp_path / to).annotations.class_names


def listed_twice(*, outlines=False, hw=(30, 40)):
    """Annotations in which each of twenty files is listed twice, with objects of its own."""
    names = [f"{k}.png" for k in range(20)]
    images = [
        {"id": k, "file_name": name, "width": 40, "height": 30} for k, name in enumerate(names)
    ]
    images += [{**image, "id": 100 + image["id"], "height": hw[0]} for image in images]
    objects = [
        {
            "image_id": image["id"],
            "category_id": image["id"] // 100,
            "bbox": [image["id"] % 100, 2, 5, 6],
            "segmentation": [[1, 1, image["id"] % 100 + 9, 1, 1, 9]],
        }
        for image in images
    ]
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES)]
    data = {"images": images, "annotations": objects, "categories": categories}
    return parse_annotations(json.dumps(data).encode(), "a.json", outlines=outlines)


@pytest.mark.parametrize("outlines", [False, True])
@pytest.mark.parametrize("to", WRITERS)
def test_a_file_that_is_listed_twice_keeps_the_objects_of_both(to, outlines, tmp_path):
    annotations = listed_twice(outlines=outlines)
    images = drawn(tmp_path / "photos", annotations)
    said = WRITERS[to](annotations, images, tmp_path / "out", "train")
    found = read_data_set(tmp_path / "out", split="train").annotations
    assert len(found.packed) == len(annotations.packed) == 40
    if to != "coco":  # COCO can list a file twice.
        assert said[0].startswith(
            "20 image files are listed more than once and get the objects of all their entries: 0.png,"
        )
        assert len(found.images) == 20
        for image in found.images:
            objects = found.of_image(image.id)
            assert [found.class_names[k] for k in objects.labels] == ["zebra", CLASSES[1]]
            if not outlines:
                left = float(image.file_name.rpartition("/")[2].removesuffix(".png"))
                assert objects.boxes[:, 0].tolist() == pytest.approx([left, left], abs=1e-4)


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_a_file_that_is_listed_with_two_sizes_is_refused(to, tmp_path):
    annotations = listed_twice(hw=(31, 40))
    images = drawn(tmp_path / "photos", annotations)
    with pytest.raises(InputError, match=r"0\.png.*40x3[01]"):
        WRITERS[to](annotations, images, tmp_path / "out", None)


@pytest.mark.parametrize("same", [True, False])
def test_a_target_that_appears_meanwhile_is_compared(same, tmp_path, monkeypatch):
    source = write(tmp_path / "a.png", b"a")
    target = tmp_path / "out" / "a.png"

    def overtaken(source, target):
        write(target, b"a" if same else b"b")
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))

    monkeypatch.setattr(os, "link", overtaken)
    if same:
        place_image(source, target)
    else:
        with pytest.raises(InputError, match="it is there already, and differs from"):
            place_image(source, target)


def test_two_names_of_one_split_are_written_as_two(tmp_path):
    annotations = annotations_of({"x.png": [(0, BOXES[2])]})
    images = drawn(tmp_path / "photos", annotations)
    for split in ("training", "val", "dev"):
        WRITERS["yolo"](annotations, images, tmp_path / "out", split)
    written = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert [written[key] for key in ("train", "val", "dev")] == [
        "images/training",
        "images/val",
        "images/dev",
    ]
