"""The description of an exported detector: model.json beside it, and the same text inside the file.

It says all that a caller needs, and carries the run.json of the run that the detector is from. It is data of
unknown origin when it is read.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from ...cache.errors import CorruptCache, InputError
from ...cache.format.json_values import list_of, mapping_of, number_of, text_of, whole_of
from ...cache.format.sealed import digest_or_none, parse_json
from ..runs.info import RunInfo
from .runtimes import RUNTIMES, Include, runtime_of

FORMAT = 1
HW = tuple[int, int]
Within = Literal["class", "level", "image", "none"]
_MAX_SIDE = 2**16


@dataclass(frozen=True, slots=True)
class Selection:
    """How detections are chosen among all scores and boxes.

    counts: the number of locations of each level. best: how many pairs of a location and a class are taken of
    a level at most. threshold: the score that all detections exceed. iou: the overlap above which NMS drops
    the worse of two boxes. within: which boxes it compares; none for no NMS. limit: the maximum number of
    detections of an image. min_side: the shortest side of a box, px.
    """

    counts: tuple[int, ...]
    best: int
    threshold: float
    iou: float
    within: Within
    limit: int
    min_side: float = 0.0


@dataclass(frozen=True, slots=True)
class Description:
    """The description of an exported detector.

    fdet: the version that exported it. include: whether detections come out of the file, or all scores and
    boxes. precision: fp32, fp16 or int8. canvas_hw: the one canvas that it takes, px. outputs: the names of
    what comes out, in their order. selection: how detections are chosen, in the file or behind it.
    thresholds: the score from which on a detection of each class counts. weights: the sha256 of the
    checkpoint. info: the run.
    """

    fdet: str
    runtime: str
    include: Include
    precision: str
    canvas_hw: HW
    outputs: tuple[str, ...]
    selection: Selection
    thresholds: tuple[float, ...]
    weights: str
    info: RunInfo

    def to_text(self) -> str:
        """Return the description as JSON that people can read."""
        from ..dataset.images.decoding import INTERPOLATION

        key, head = self.info.key, self.info.config.head
        classes = zip(self.info.class_ids, self.info.class_names, self.thresholds, strict=True)
        return json.dumps(
            {
                "format": FORMAT,
                "fdet": self.fdet,
                "runtime": self.runtime,
                "include": self.include,
                "precision": self.precision,
                "canvas": list(self.canvas_hw),
                "inputs": {
                    "images": "float32 (B, 3, H, W): the canvases, normalised",
                    "sizes": "int64 (B, 2): the rows and columns of each canvas that show its image",
                },
                "outputs": list(self.outputs),
                "resize": {"short": key.short, "long": key.long, "interpolation": INTERPOLATION},
                "padding": "at the right and at the bottom, zero after normalisation",
                "channels": "RGB",
                "mean": list(key.mean),
                "std": list(key.std),
                "classes": [{"id": i, "name": n, "threshold": t} for i, n, t in classes],
                "score_threshold": head.score_threshold,
                "nms": head.suppression,
                "max_detections": head.max_detections,
                "selection": asdict(self.selection),
                "weights": self.weights,
                "run_digest": self.info.digest,
                "run": self.info.to_bytes().decode(),
            },
            indent=1,
            ensure_ascii=False,
        )

    @classmethod
    def parse(cls, text: str, path: Path) -> Description:
        """Read a description that `to_text` made. path: the file that it is from. Raises CorruptCache."""
        data = parse_json(text.encode(), path)
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}, expected {FORMAT}")
            info = replace(
                RunInfo.parse(text_of(data["run"]).encode(), path),
                read_digest=digest_or_none(data["run_digest"]),
            )
            rows, columns = (whole_of(v, 1, _MAX_SIDE) for v in list_of(data["canvas"]))
            thresholds = [mapping_of(c)["threshold"] for c in list_of(data["classes"])]
            if len(thresholds) != len(info.class_ids):
                raise ValueError(
                    f"classes: {len(thresholds)}, those of its run: {len(info.class_ids)}"
                )
            return cls(
                text_of(data["fdet"]),
                text_of(data["runtime"]),
                _one_of(data["include"], "nms", "raw"),
                text_of(data["precision"]),
                (rows, columns),
                tuple(text_of(name) for name in list_of(data["outputs"])),
                _selection(mapping_of(data["selection"])),
                tuple(number_of(value, 0, 1) for value in thresholds),
                digest_or_none(data["weights"]),
                info,
            )
        except (LookupError, TypeError, ValueError) as error:
            raise CorruptCache(
                f"{path}: its description is unreadable ({error}); export it again"
            ) from error


def _selection(data: dict[str, Any]) -> Selection:
    return Selection(
        tuple(whole_of(count, 1) for count in list_of(data["counts"])),
        whole_of(data["best"], 1),
        number_of(data["threshold"], 0, 1),
        number_of(data["iou"], 0, 1),
        _one_of(data["within"], "class", "level", "image", "none"),
        whole_of(data["limit"], 1),
        number_of(data["min_side"], 0, _MAX_SIDE),
    )


def _one_of(value: Any, *known: str) -> Any:
    if value not in known:
        raise ValueError(f"expected one of {', '.join(known)}, got {value!r:.80}")
    return value


def read_description(path: Path) -> Description:
    """Read what an exported file says of itself. Raises InputError, CorruptCache."""
    row = RUNTIMES[runtime_of(path)]
    if not path.is_file():
        raise InputError(f"{path}: no such file; `fdet export RUN --out {path}` writes one")
    try:
        text = row.described(path)
    except (LookupError, ValueError, OSError, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise CorruptCache(
            f"{path}: it has no description of fdet ({error}); was it made by `fdet export`?"
        ) from error
    return Description.parse(text, path)
