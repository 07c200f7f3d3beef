"""COCO files whose "segmentation" is made to do harm, read as training with masks reads them."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from faster_coco_eval.core import mask as faster
from pycocotools import mask

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.data_set import load_annotations

from .case import Case, Thunk

ESCAPE = "\x1b[2J\x07"
LONG = 2**20
SIDE = 8
RING = [1, 1, 5, 1, 5, 5]
HUGE = 10**9


def coco(segmentation: Any, hw: tuple[int, int] = (SIDE, SIDE), **fields: Any) -> bytes:
    """One image with one object, whose id is 7."""
    entry = {"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], **fields}
    data = {
        "images": [{"id": 1, "file_name": "a.png", "height": hw[0], "width": hw[1]}],
        "annotations": [{**entry, "segmentation": segmentation}],
        "categories": [{"id": 1, "name": "disc"}],
    }
    return json.dumps(data).encode()


def runs(counts: Any, size: Any = (SIDE, SIDE), **fields: Any) -> dict[str, Any]:
    return {"counts": counts, "size": size, **fields}


def put(text: bytes) -> bytes:
    """With a value that json does not write."""
    return coco("HERE").replace(b'"HERE"', text)


def _train(path: Path) -> None:
    """All that masks go through: what the head learns, and what the engines of COCO's figures count."""
    annotations, _ = load_annotations(path, outlines=True)
    for image in annotations.images:
        objects, (height, width) = annotations.of_image(image.id), image.hw
        for k in range(len(objects)):
            grid = objects.outlines.grid(k, objects.boxes[k], image.hw, 56)
            assert grid.min() >= 0 and grid.max() <= 1
            outline = objects.outlines.coco(k, image.hw)
            for engine in (mask, faster):
                encoded = engine.frPyObjects(outline, height, width)
                encoded = engine.merge(encoded) if isinstance(encoded, list) else encoded
                assert 0 <= engine.area(encoded) <= height * width


def _refused(path: Path, said: str) -> None:
    refusal = _refusal(path)
    message = str(refusal)
    assert said in message, f"{message} does not say {said!r}"
    assert "\n" not in message and len(message) < len(str(path)) + 300
    raise refusal


def _refusal(path: Path) -> InputError:
    try:
        _train(path)
    except InputError as error:
        return error
    raise AssertionError("it was accepted")


def attempts(folder: Path, call: Callable[[Path], None]) -> Iterator[tuple[str, Thunk]]:
    for path in sorted(folder.glob("*.json")):
        yield f"train with {path.name}", partial(call, path)


def case(name: str, contents: tuple[bytes | Callable[[], bytes], ...], **options: Any) -> Case:
    def prepare(folder: Path) -> None:
        for k, given in enumerate(contents):
            (folder / f"{k}.json").write_bytes(given if isinstance(given, bytes) else given())

    return Case(f"segmentation: {name}", prepare, expected=(InputError,), **options)


def refused(
    name: str, *contents: bytes | Callable[[], bytes], said: str = ".segmentation (id 7): "
) -> Case:
    """Every one of the files, in one line that says what is expected."""
    call = partial(_refused, said=said)
    return case(name, contents, attempts=partial(attempts, call=call))


def harmless(name: str, *contents: bytes | Callable[[], bytes]) -> Case:
    """Refused or not."""
    return case(name, contents, attempts=partial(attempts, call=_train), refused=False)


CASES = [
    refused(
        "of another type", *(coco(v) for v in ("", "x", 1, 0, 1.5, True, False, ESCAPE, "ü" * 99))
    ),
    refused("none", coco(None), coco([]), coco({}), coco([[]]), coco([RING, []])),
    refused("missing", coco(None).replace(b', "segmentation": null', b"")),
    refused(
        "missing, and no id",
        coco(None).replace(b'"id": 7, ', b""),
        said="annotations[0].segmentation: expected polygons",
    ),
    refused("missing of a crowd", coco(None, iscrowd=1)),
    refused(
        "rings of another type",
        *(coco([v]) for v in (None, 1, "123456", ESCAPE, {}, {"a": 1}, True)),
        coco(RING),
        coco([RING, 5]),
        coco([[RING]]),
    ),
    refused(
        "corners of another type",
        *(
            coco([[*RING[:5], v]])
            for v in (None, "five", True, [], [5], {}, ESCAPE, "\ud800", "5" * LONG)
        ),
        coco([[[1, 1], [5, 1], [5, 5]]]),
        coco([[[1, 1], [5, 1], [5, 5], [1, 5], [1, 1], [1, 1]]]),
    ),
    refused("an odd number of coordinates", coco([[*RING, 1]]), coco([RING, [*RING, 1, 2, 3]])),
    refused(
        "fewer than three corners",
        *(coco([RING[:n]]) for n in range(6)),
        coco([RING, RING[:4]]),
    ),
    refused(
        "corners beyond numbers",
        *(
            put(b"[[1, 1, 5, 1, 5, " + v + b"]]")
            for v in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1e308", b"-1e30", b"1" * 4000)
        ),
        put(b"[[" + b", ".join([b"NaN"] * 6) + b"]]"),
    ),
    refused(
        "corners far away", *(coco([[*RING[:5], v]]) for v in (17, -17, 2**31, 2**53, -(2**63)))
    ),
    refused(
        "more way than memory",
        lambda: coco([[0, 0, 0, 16] * LONG]),
        lambda: coco([[-2000, -2000, 2000, 2000] * (LONG // 4)], (1000, 1000)),
        lambda: coco([[-16, 0, 16, 0] * 20]),
    ),
    refused(
        "more way than memory, in a thin image",
        coco([[-(2**26), 0, 2**26, 0] * 99], (1, 2**26), bbox=[0, 0, 1, 1]),
        coco([[0, 0, 2**26, 0, 2**26, 1]], (1, 2**26), bbox=[0, 0, 1, 1]),
    ),
    harmless(
        "corners in one place or in a line",
        coco([[3] * 6]),
        coco([[0, 0, 8, 8, 0, 0]]),
        coco([[16, 16, -16, -16, 16, -16]]),
        coco([[1e-320, 0, 8, 1e-320, 8, 8]]),
        lambda: coco([[3, 3] * LONG]),
    ),
    harmless("a multitude of rings", lambda: coco([RING] * 2**15)),
    harmless(
        "boxes of no extent or far larger than the image",
        *(
            coco(v, bbox=box)
            for v in ([RING], runs([64]), runs([0, 64]))
            for box in ([7, 7, 1e-12, 1e-12], [-(2**52), -(2**52), 2**53 - 1, 2**53 - 1])
        ),
    ),
    refused(
        "nested deep",
        *(put(b"[" * d + b"]" * d) for d in (3, 7, 50, 500)),
        *(put(b'{"counts":' + b"[" * d + b"]" * d + b',"size":[8,8]}') for d in (2, 50, 500)),
        *(put(b'{"counts":[64],"size":' + b"[" * d + b"]" * d + b"}") for d in (2, 50, 500)),
        *(put(b'{"a":' * d + b"1" + b"}" * d) for d in (1, 50, 500)),
    ),
    refused(
        "nested 900 to 990 deep",
        *(put(b"[" * d + b"]" * d) for d in range(900, 990)),
        *(put(b'{"counts":[64],"size":' + b"[" * d + b"]" * d + b"}") for d in range(900, 990, 2)),
        said="",
    ),
    refused("run lengths without a key", coco({"counts": [64]}), coco({"size": [8, 8]})),
    refused(
        "run lengths of another size",
        *(
            coco(runs([64], v))
            for v in (
                *(None, 8, "88", [], [8], [8, 8, 1], [8, 9], [64, 1], [-8, -8], ["8", "8"]),
                *({}, [[8], [8]], [HUGE, HUGE], [2**63, 2**63], [None, None], ESCAPE, "8" * LONG),
            )
        ),
        lambda: coco(runs([64], [8] * LONG)),
    ),
    refused(
        "run lengths of another type",
        *(coco(runs(v)) for v in (None, 64, True, {}, {"0": 64}, ["64"], [[64]], [64.0], [None])),
        coco(runs([True] * 64)),
        coco(runs([10, ESCAPE, 54])),
    ),
    refused(
        "run lengths below zero", coco(runs([65, -1])), coco(runs([-1, 65])), coco(runs([-64]))
    ),
    refused(
        "run lengths of other sums",
        *(coco(runs(v)) for v in ([], [0], [63], [65], [32, 33], [0] * 64)),
        *(coco(runs(v)) for v in ([HUGE], [2**32, 64], [2**62] * 4, [2**64 + 64], [10**4000])),
    ),
    refused(
        "run lengths without end",
        lambda: coco(runs([0] * LONG)),
        lambda: coco(runs([64, *[0] * LONG])),
        lambda: coco(runs("0" * 32 * LONG)),
        lambda: coco(runs("P2" + "0" * 32 * LONG)),
    ),
    refused(
        "run lengths beyond numbers",
        *(
            put(b'{"size": [8, 8], "counts": [' + v + b"]}")
            for v in (b"NaN", b"Infinity", b"1e999", b"-1e9", b"1" * 4000, b"64.5")
        ),
    ),
    refused(
        "compressed run lengths of garbage",
        *(coco(runs(v)) for v in ("", " ", "\0", ESCAPE, "\x7f", "ü", "\ud800", "😀", "P", "PPPP")),
        *(coco(runs(v)) for v in ("o" * 99, "`" * LONG, "P2\n", "P2 ", "P2P", "p" * LONG)),
        *(coco(runs(bytes(range(256)).decode("latin-1")[k:])) for k in range(0, 256, 16)),
    ),
    refused(
        "compressed run lengths of other sums",
        *(coco(runs(v)) for v in ("0", "1", "O1", "Q2", "N", "P2N", "P2O", "ooooooooooo1")),
    ),
    harmless("compressed run lengths that are sound", coco(runs("P2")), coco(runs("0P2"))),
    harmless(
        "more in it than there should be",
        coco(runs([64], a=1, bbox=[HUGE] * 4)),
        coco(runs([0] * 63 + [64])),
        coco(runs([64], [8.0, 8.0])),
    ),
    refused(
        "an image as large as none",
        *(
            coco(v, (h, w), bbox=[0, 0, 1, 1])
            for h, w in ((HUGE, HUGE), (2**62, 2**62), (HUGE, 1), (1, 2**33))
            for v in ([RING], [[0, 0, w, 0, w, h]], runs([h * w], [h, w]), runs([0, h * w], [h, w]))
        ),
    ),
    harmless(
        "an image as large as may be",
        coco([RING], (9000, 9000)),
        coco([[0, 0, 9000, 0, 9000, 9000, 0, 9000]], (9000, 9000)),
        coco(runs([0, 81 * 10**6], [9000, 9000]), (9000, 9000), bbox=[0, 0, 9000, 9000]),
        coco(runs([0, 2**26], [1, 2**26]), (1, 2**26), bbox=[0, 0, 2**26, 1]),
    ),
]


def make_good(folder: Path) -> None:
    """Nothing is copied."""
