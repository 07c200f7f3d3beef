"""Pictures of detections: of which images, what is on them, and where they go."""

import io
import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fdet.cache.errors import InputError
from fdet.cache.layout import ImageEntry
from fdet.heads.types import Detections
from fdet.pipeline.dataset.data_set import load_annotations
from fdet.pipeline.pictures.choice import choose_images
from fdet.pipeline.pictures.draw import OPACITY, class_colour
from fdet.pipeline.watching.events import Event
from fdet.pipeline.watching.pictures_hook import draw_detections, picture_names, pictures_hook

from ...generated import outlined

EMPTY = 31  # the image without objects


@pytest.fixture(scope="module")
def annotations(dataset):
    return load_annotations(dataset)[0]


@pytest.fixture(scope="module")
def images(dataset):
    return dataset.parent / "images"


def found(annotations, image_id, score=0.9) -> Detections:
    """All objects of an image, best first from `score` on."""
    objects = annotations.of_image(image_id)
    scores = torch.linspace(score, 0.9 * score, len(objects))
    boxes = torch.from_numpy(objects.boxes).float()
    return Detections(boxes, scores, torch.from_numpy(objects.labels))


def halves(png: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth and detections, both with their titles."""
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB"))
    side = (pixels.shape[1] - max(4, pixels.shape[1] // 2 // 80)) // 2
    return pixels[:, :side], pixels[:, -side:]


def coloured(pixels: np.ndarray, label: int) -> int:
    return int((pixels == class_colour(label)).all(-1).sum())


def ids(annotations) -> list[int]:
    return [image.id for image in annotations.images]


def evaluation(annotations, step=20) -> Event:
    detections = {image_id: found(annotations, image_id) for image_id in ids(annotations)}
    return Event({"kind": "eval", "step": step, "epoch": 1, "metrics": {}}, detections)


def test_the_same_few_images_are_chosen_in_whatever_order_the_ids_come(annotations):
    chosen = choose_images(annotations, ids(annotations))
    assert chosen == choose_images(annotations, ids(annotations)[::-1])
    assert len({entry.id for entry in chosen}) == 4
    assert EMPTY not in [entry.id for entry in chosen]


def test_they_are_spread_over_the_set(annotations):
    filled = sorted(set(ids(annotations)) - {EMPTY})
    places = [filled.index(entry.id) for entry in choose_images(annotations, filled, 3)]
    assert places == [1, 5, 9]


@pytest.mark.parametrize("count", range(1, 15))
def test_no_image_is_chosen_twice(count, annotations):
    chosen = [entry.id for entry in choose_images(annotations, ids(annotations), count)]
    assert len(set(chosen)) == len(chosen) == min(count, 11)


def test_images_without_objects_serve_where_there_are_no_others(annotations):
    assert [entry.id for entry in choose_images(annotations, [EMPTY])] == [EMPTY]
    assert choose_images(annotations, []) == []


def test_a_picture_has_the_name_of_its_file():
    files = ["a.jpg", "sub/b.jpg", "c.png", "c.webp"]
    entries = [ImageEntry(k, name, (9, 9)) for k, name in enumerate(files)]
    assert list(picture_names(entries).values()) == ["a", "sub/b", "c.png", "c.webp"]


def test_detections_stand_beside_the_ground_truth(annotations, images):
    entry = annotations.image(17)
    labels = set(annotations.of_image(17).labels.tolist())
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    left, right = halves(draw_detections(images, entry, annotations, found(annotations, 17)))
    empty_left, empty_right = halves(draw_detections(images, entry, annotations, nothing))
    for label in labels:
        assert coloured(left, label) > 100
        assert coloured(right, label) > 100
        assert coloured(empty_right, label) == 0
    assert np.array_equal(left, empty_left)


def test_masks_and_outlines_are_drawn_where_there_are_any(dataset, images):
    """Over the plain picture they colour more of both halves."""
    outlines, _ = load_annotations(outlined(dataset), outlines=True)
    plain, _ = load_annotations(dataset)
    bare = found(plain, 17)
    masked = replace(bare, masks=torch.ones(len(bare), 28, 28))
    with_masks = halves(draw_detections(images, outlines.image(17), outlines, masked))
    without = halves(draw_detections(images, plain.image(17), plain, bare))
    x, y, right, bottom = plain.of_image(17).boxes[0] * 800 / plain.image(17).hw[1]
    for half, other in zip(with_masks, without, strict=True):
        head = half.shape[0] - round(800 * plain.image(17).hw[0] / plain.image(17).hw[1])
        row, column = head + round((y + bottom) / 2), round((x + right) / 2)
        colour = np.array(class_colour(int(bare.labels[0])))
        expected = (1 - OPACITY) * other[row, column] + OPACITY * colour
        assert np.abs(half[row, column] - expected).max() <= 0.5
        assert np.abs(other[row, column] - expected).max() > 10


def test_unsure_detections_are_left_out_where_there_are_sure_ones(annotations, images):
    entry, objects = annotations.image(10), annotations.of_image(10)
    one = torch.from_numpy(objects.boxes[:1]).float()
    box = torch.tensor([[70.0, 70.0, 120.0, 120.0]])
    labels = torch.tensor([0, 2])
    both = Detections(torch.cat([one, box]), torch.tensor([0.9, 0.29]), labels)
    alone = Detections(one, torch.tensor([0.9]), labels[:1])
    assert draw_detections(images, entry, annotations, both) == draw_detections(
        images, entry, annotations, alone
    )


def test_where_none_is_sure_the_best_are_shown(annotations, images):
    """As many as there are objects, as early in a training no score is high."""
    entry, objects = annotations.image(17), annotations.of_image(17)
    other = next(k for k in range(3) if k not in objects.labels)
    best = found(annotations, 17, score=0.1)
    boxes = torch.cat([best.boxes, best.boxes[:1] + 5])
    scores = torch.cat([best.scores, torch.tensor([0.01])])
    more = Detections(boxes, scores, torch.cat([best.labels, torch.tensor([other])]))
    _, right = halves(draw_detections(images, entry, annotations, more))
    assert coloured(right, int(best.labels[0])) > 100
    assert coloured(right, other) == 0


def test_a_large_image_becomes_a_small_picture_with_its_boxes_in_place(tmp_path):
    Image.new("RGB", (2000, 1000), "gray").save(tmp_path / "a.png")
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 2000, "height": 1000}],
        "categories": [{"id": 1, "name": "tree"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1000, 500, 500, 250]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    annotations, _ = load_annotations(tmp_path / "a.json")
    png = draw_detections(tmp_path, annotations.image(1), annotations, found(annotations, 1))
    left, _ = halves(png)
    assert left.shape[1] == 800
    rows, columns = np.nonzero((left == class_colour(0)).all(-1))
    head = left.shape[0] - 400
    assert (columns.min(), columns.max()) == (400, 600)
    assert (rows.min() - head, rows.max() - head) == (200, 300)


class Album:
    def __init__(self) -> None:
        self.pictures: dict[tuple[int, str], bytes] = {}

    def picture(self, step, name, png):
        self.pictures[step, name] = png


def test_trackers_keep_every_evaluation_and_the_disk_the_last(annotations, images, tmp_path):
    album = Album()
    hook = pictures_hook(tmp_path, images, annotations, ids(annotations), [album])
    hook(evaluation(annotations, step=20))
    later = evaluation(annotations, step=40)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    hook(Event(later.line, dict.fromkeys(later.detections, nothing)))
    names = set(picture_names(choose_images(annotations, ids(annotations))).values())
    assert set(album.pictures) == {(s, f"pictures/{name}") for s in (20, 40) for name in names}
    folder = tmp_path / "pictures"
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert set(files) == {f"{name}.png" for name in names}
    for name in names:
        first, last = (album.pictures[step, f"pictures/{name}"] for step in (20, 40))
        assert files[f"{name}.png"].read_bytes() == last != first


def test_a_line_of_the_training_makes_no_picture(annotations, images, tmp_path):
    hook = pictures_hook(tmp_path, images, annotations, ids(annotations))
    hook(Event({"kind": "train", "step": 1}))
    assert not any(tmp_path.iterdir())


def test_a_folder_without_the_images_is_refused_at_once(annotations, tmp_path):
    with pytest.raises(InputError, match="no such file; pictures need the folder of images"):
        pictures_hook(tmp_path, tmp_path, annotations, ids(annotations))


def test_images_of_another_size_are_refused_at_once(annotations, images, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(images, copy)
    chosen = choose_images(annotations, ids(annotations))[0]
    Image.new("RGB", (50, 60)).save(copy / chosen.file_name)
    with pytest.raises(InputError, match=r"its size \(h, w\) is \(60, 50\), the annotations say"):
        pictures_hook(tmp_path, copy, annotations, ids(annotations))


def test_an_image_that_vanishes_later_is_a_warning(annotations, images, tmp_path, caplog):
    copy = tmp_path / "images"
    shutil.copytree(images, copy)
    album = Album()
    hook = pictures_hook(tmp_path / "run", copy, annotations, ids(annotations), [album])
    chosen = choose_images(annotations, ids(annotations))
    (copy / chosen[0].file_name).unlink()
    with caplog.at_level(logging.WARNING):
        hook(evaluation(annotations))
    assert chosen[0].file_name in caplog.text
    assert len(album.pictures) == len(chosen) - 1
