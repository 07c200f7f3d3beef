"""COCO files made to do harm."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.check import check_images
from fdet.pipeline.dataset.data_set import load_annotations

from .case import Case, Thunk, outside_of

NAME = "annotations.json"
ESCAPE = "\x1b[2J\x07"
LONG = "x" * 2**20


def coco(
    image: dict[str, Any] | None = None,
    box: dict[str, Any] | None = None,
    category: dict[str, Any] | None = None,
    **fields: Any,
) -> bytes:
    """One image, one box, one category; what is given replaces or adds."""
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8, **(image or {})}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], **(box or {})}
        ],
        "categories": [{"id": 1, "name": "disc", **(category or {})}],
        **fields,
    }
    return json.dumps(data).encode()


def attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """Read each file; look at the headers of its images."""
    for path in sorted(folder.glob("*.json")):
        yield f"extract with {path.name}", partial(_read, path, folder / "images")


def _read(path: Path, images: Path) -> None:
    annotations, _ = load_annotations(path)
    check_images(images, annotations.images)
    for image in annotations.images:
        boxes = annotations.of_image(image.id)
        assert (boxes.boxes[:, 2:] > boxes.boxes[:, :2]).all()


def file(
    name: str, *contents: bytes | Callable[[], bytes], refused: bool = True, named: bool = True
) -> Case:
    def prepare(folder: Path) -> None:
        (folder / "images").mkdir()
        for place in (folder / "images", outside_of(folder)):
            Image.new("RGB", (8, 8)).save(place / "a.png")
        for k, given in enumerate(contents):
            data = given if isinstance(given, bytes) else given()
            (folder / f"{k}.json").write_bytes(data)

    return Case(f"COCO: {name}", prepare, attempts, (InputError,), refused, named)


def _image_that_is(name: str, make: Callable[[Path, Path], object], refused: bool = True) -> Case:
    """a.png is something else than an image file."""

    def prepare(folder: Path) -> None:
        (folder / "images").mkdir()
        (folder / NAME).write_bytes(coco())
        make(folder / "images" / "a.png", outside_of(folder))

    return Case(f"COCO: its image is {name}", prepare, attempts, (InputError,), refused)


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _replaced(field: str, part: str) -> Case:
    given = (None, [], {}, "", "1x", -1, True, 1.5, 2**63, 10**4000, [[]], {"a": 1}, ESCAPE, LONG)
    return file(f"{part}.{field} replaced", *(coco(**{part: {field: v}}) for v in given))


CASES = [
    file("nested 100,000 deep", _nested(100_000), b'{"images":' * 100_000),
    file(
        "images nested 900 to 990 deep",
        *(b'{"images":' + _nested(d) + b"}" for d in range(900, 990, 2)),
    ),
    file(
        "an image nested 900 to 990 deep",
        *(b'{"images":[' + _nested(d) + b"]}" for d in range(900, 990, 2)),
    ),
    file(
        "an id nested 900 to 990 deep",
        *(coco().replace(b'"id": 1', b'"id": ' + _nested(d), 1) for d in range(900, 990, 2)),
    ),
    file(
        "numbers that no machine has",
        coco().replace(b"8", b"1e999"),
        coco().replace(b"8", b"1" * 5000),
    ),
    *(
        file(
            f"image.{name} replaced",
            *(
                coco({"neg_category_ids": [], "not_exhaustive_category_ids": []} | {name: v})
                for v in (None, {}, "", 1, True, [None], [[]], [{}], [""], [2], [1.5], [10**4000])
            ),
        )
        for name in ("neg_category_ids", "not_exhaustive_category_ids")
    ),
    file(
        "category.frequency replaced",
        *(coco(category={"frequency": v}) for v in (None, [], {}, "", "x", 1, True, ESCAPE, LONG)),
    ),
    file(
        "addresses that leave",
        *(
            coco({"file_name": None, "coco_url": v})
            for v in (
                "../a.png",
                "file:///etc/passwd",
                "/etc/passwd",
                "..",
                "",
                LONG,
                ESCAPE,
                5,
                [],
            )
        ),
    ),
    file("not JSON", b"", b"\0", b"\xff\xfe", b"{", b'"', b"{'images': []}"),
    file(
        "other encodings", coco().decode().encode("utf-16"), b"\xef\xbb\xbf" + coco(), refused=False
    ),
    file("another type", b"[]", b"1", b"null", b'"images"'),
    file(
        "no list",
        *(
            coco(**{n: v})
            for n in ("images", "annotations", "categories")
            for v in (None, {}, "", 5, True, [1], [None], [[]], [""])
        ),
    ),
    file("a list less", b"{}", b'{"images":[]}', coco(images=[]), coco(categories=[])),
    file("the same list twice", coco()[:-1] + b',"images":[]}', coco()[:-1] + b',"annotations":5}'),
    file(
        "the same id twice, of different entries",
        coco(
            images=[
                {"id": 1, "file_name": name, "width": 8, "height": 8} for name in ("a.png", "b.png")
            ]
        ),
        coco(categories=[{"id": 1, "name": name} for name in ("a", "b")]),
    ),
    *(_replaced(field, "image") for field in ("id", "file_name", "width", "height")),
    *(_replaced(field, "box") for field in ("image_id", "category_id", "bbox")),
    *(_replaced(field, "category") for field in ("id", "name")),
    file(
        "box.area replaced",
        *(coco(box={"area": v}) for v in (None, [], {}, "", "1", True, 2**63, 10**4000)),
    ),
    file(
        "box.iscrowd replaced",
        *(coco(box={"iscrowd": v}) for v in (None, [], {}, "", "1", 2, -1, 0.5, 10**4000)),
    ),
    file(
        "boxes that are none",
        *(
            coco(box={"bbox": v})
            for v in ([], [1, 2, 3], [1] * 5, ["1"] * 4, [[1]] * 4, [None] * 4, [True] * 4)
        ),
    ),
    file(
        "boxes beyond numbers",
        *(
            coco().replace(b"[1, 1, 4, 4]", b"[1, 1, " + v + b", 4]")
            for v in (b"NaN", b"Infinity", b"-Infinity", b"1e308", b"1e999", b"1" * 400)
        ),
    ),
    file(
        "boxes of odd sizes",
        *(
            coco(box={"bbox": v})
            for v in (
                [1, 1, 0, 4],
                [1, 1, -4, 4],
                [-9, -9, 1, 1],
                [2**52, 0, 1, 1],
                [1, 1, 1e-320, 1],
            )
        ),
        refused=False,
    ),
    file("of an unknown image", coco(box={"image_id": 2}), coco(box={"category_id": 2})),
    file(
        "images that leave",
        *(
            coco({"file_name": v})
            for v in (
                "../outside/a.png",
                "/etc/passwd",
                "a/../../outside/a.png",
                "..\\outside\\a.png",
                "/dev/zero",
                "a\0.png",
                "",
                "..",
                "\\\\host\\a.png",
            )
        ),
    ),
    file(
        "images that no folder has",
        *(
            coco({"file_name": v})
            for v in (
                ".",
                "./",
                "x" * 300,
                LONG,
                "\ud800",
                "a.png/",
                "a.png/b",
                "~/a.png",
                "file:///etc/passwd",
                "http://127.0.0.1/a.png",
                "-rf",
            )
        ),
    ),
    file(
        "an image of a name that tells the terminal what to do",
        coco({"file_name": ESCAPE}),
        coco({"file_name": "a\n\rb"}),
    ),
    file(
        "sizes of another image",
        coco({"width": 9}),
        coco({"width": 2**31, "height": 2**31}),
        coco({"width": 2**62, "height": 2**62}),
        named=False,
    ),
    file(
        "a class of a name that tells the terminal what to do",
        coco(category={"name": ESCAPE}),
        refused=False,
    ),
    _image_that_is("a FIFO", lambda path, _: os.mkfifo(path)),
    _image_that_is("a folder", lambda path, _: path.mkdir()),
    _image_that_is("a link to /dev/zero", lambda path, _: path.symlink_to("/dev/zero")),
    _image_that_is(
        "a link to a FIFO", lambda path, _: (os.mkfifo(path.with_name("b")), path.symlink_to("b"))
    ),
    _image_that_is("a link to itself", lambda path, _: path.symlink_to("a.png")),
    _image_that_is("a link to nothing", lambda path, _: path.symlink_to("nowhere")),
    _image_that_is("text", lambda path, _: path.write_bytes(b"hello"), refused=False),
]
