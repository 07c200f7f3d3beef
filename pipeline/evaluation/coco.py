"""AP over exactly the images that were looked at, by COCO's rules, or LVIS' rules for its annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask

from ...heads.masks import paste_masks
from ...heads.types import Detections
from ..dataset.annotations import Annotations
from ..runs.evaluations import class_labels
from .engines import FASTEST, MAX_DETECTIONS, evaluated
from .errors import ErrorBreakdown
from .lvis import LVIS_DETECTIONS, counted, with_partial
from .resampling import Comparison, ResampledAP
from .scores import ScoreFigures

# In the order of the summary of COCO's evaluation.
FIGURES = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
)
# For each figure, the frequency group whose classes it is the AP of.
GROUPS = {"ap_rare": "r", "ap_common": "c", "ap_frequent": "f"}
# The index of a threshold among 0.5, 0.55, ... 0.95, and of a range among the engines' ranges of areas.
_AT = {"ap50": 0, "ap75": 5}
_AREAS = {"small": 1, "medium": 2, "large": 3}
# The limits of the ranges below the largest, px.
_LIMITS = {"small": 32**2, "medium": 96**2}
# The fields of Metrics that say what the figures are of.
_OF = ("annotations", "nms")
# Those that are not among the figures where there are none.
_OPTIONAL = (
    *("masks", "masks_per_class", "errors", "objects", "sizes"),
    *("scores", "duplicates", "unfinished", "compared"),
)


@dataclass(frozen=True, slots=True)
class Metrics:
    """COCO's figures of boxes, 0 to 1; None where no object counts.

    per_class: AP by class name. ap_rare, ap_common, ap_frequent: the mean AP of the classes that few, more
    and many images of the training data show, where those are known. masks, masks_per_class: the same
    figures of masks, where masks are found. errors: the breakdown of errors, where it was requested.
    objects, sizes: the numbers of objects that count, by class and by size (small, medium, large). scores:
    what the scores are worth, where that was requested. duplicates: what NMS over all classes would drop, as
    the fields of Duplicates, where they were counted. unfinished: the "epochs" that the run has done and
    those that it is "of", where it has not come to its end. compared: how much better it is than another
    run, where that was requested. annotations: the sha256 of the annotations that the figures are of, where
    it is known. nms: the value of head.nms, where it is not the run's own.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    per_class: Mapping[str, float | None]
    images: int
    ap_rare: float | None = None
    ap_common: float | None = None
    ap_frequent: float | None = None
    masks: Mapping[str, float | None] | None = None
    masks_per_class: Mapping[str, float | None] | None = None
    errors: ErrorBreakdown | None = None
    objects: Mapping[str, int] | None = None
    sizes: Mapping[str, int] | None = None
    scores: ScoreFigures | None = None
    duplicates: Mapping[str, int] | None = None
    unfinished: Mapping[str, int] | None = None
    compared: Comparison | None = None
    annotations: str = field(default="", compare=False)
    nms: str = field(default="", compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the figures by name.

        "annotations" and "nms" are left out, and those of the others that may be absent and are.
        """
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _OF}
        known = {k: v for k, v in named.items() if v is not None or k not in _OPTIONAL}
        if self.errors is not None:
            known["errors"] = asdict(self.errors)
        if self.scores is not None:
            known["scores"] = self.scores.to_json()
        if self.compared is not None:
            known["compared"] = self.compared.to_json()
        return known


def coco_metrics(
    annotations: Annotations,
    found: Mapping[int, Detections],
    engine: str = FASTEST,
    results: Sequence[dict[str, Any]] | None = None,
    groups: Sequence[str] | None = None,
) -> Metrics:
    """Score detections, in image px, over exactly the images that `found` names.

    At most 100 detections of a class and an image count. Annotations of LVIS are scored by its rules: 300
    detections of an image count, and only those of classes that were looked for there. Where images were cut
    into tiles, as many count for each tile.

    engine: one of ENGINES. results: what `to_coco_results` made of the detections, if that is known.
    groups: the frequency group of each class, from `long_tail.frequencies`.
    """
    image_ids = sorted(found)
    names = unique_names(annotations)
    if results is None:
        results = to_coco_results(found, annotations.class_ids, sizes_of(annotations, found))
    truth, results, max_detections = _as_counted(annotations, image_ids, results)
    objects, sizes = _object_counts(truth, names)
    of_boxes = evaluated(engine, truth, _without_masks(results), image_ids, max_detections)
    masks = masks_per_class = None
    if annotations.packed.outlines is not None and any(d.masks is not None for d in found.values()):
        of_masks = evaluated(
            engine, truth, _without_boxes(results), image_ids, max_detections, "segm"
        )
        masks, masks_per_class = _named(of_masks, groups), _per_class(of_masks, names)
    return Metrics(
        **_named(of_boxes, groups),
        per_class=_per_class(of_boxes, names),
        images=len(image_ids),
        masks=masks,
        masks_per_class=masks_per_class,
        errors=None,
        objects=objects,
        sizes=sizes,
        scores=None,
        duplicates=None,
        unfinished=None,
        compared=None,
        annotations="",
        nms="",
    )


def _object_counts(
    truth: Mapping[str, Any], names: Sequence[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the numbers of objects that count, by class and by COCO's ranges of areas."""
    counted = [row for row in truth["annotations"] if not row["iscrowd"]]
    of_class = Counter(row["category_id"] for row in counted)
    of_size = Counter(_size(row["area"]) for row in counted)
    classes = zip(names, truth["categories"], strict=True)
    by_size = {name: of_size[name] for name in _AREAS}
    return {name: of_class[category["id"]] for name, category in classes}, by_size


def _size(area: float) -> str:
    """Return the range of an area in px, small, medium or large."""
    return next((name for name, limit in _LIMITS.items() if area < limit), "large")


def _named(evaluation: Any, groups: Sequence[str] | None) -> dict[str, float | None]:
    """Return FIGURES and GROUPS by name, with the maximum number of detections unless a name states one."""
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    figures = {}
    for name in FIGURES:
        kind, _, area = name.partition("_")
        of_area = _AREAS.get(area, 0)
        if kind.startswith("ap"):
            values = precision[:, :, :, of_area, -1]
            values = values[_AT[kind]] if kind in _AT else values
        else:
            at = evaluation.params.maxDets.index(int(kind[2:])) if kind != "ar" else -1
            values = recall[:, :, of_area, at]
        figures[name] = _mean(values)
    for name, group in GROUPS.items():
        members = [k for k, of_class in enumerate(groups or ()) if of_class == group]
        figures[name] = _mean(precision[:, :, members, 0, -1])
    return figures


def _per_class(evaluation: Any, names: Sequence[str]) -> dict[str, float | None]:
    """Return each class's AP over all overlaps and recalls, of objects of any size."""
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return {name: _mean(precision[:, :, k]) for k, name in enumerate(names)}


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """Return the mean of the values that count; the engines give -1 where nothing does."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else None


def resampled_ap(
    annotations: Annotations, image_ids: Iterable[int], results: Sequence[dict[str, Any]]
) -> ResampledAP:
    """Return what resamples the AP of boxes, from detections in COCO's result format."""
    image_ids = sorted(image_ids)
    truth, results, most = _as_counted(annotations, image_ids, results)
    # Only pycocotools gives the matches of each image.
    matched = evaluated("pycocotools", truth, _without_masks(results), image_ids, most)
    return ResampledAP(matched, len(image_ids), most)


def _as_counted(
    annotations: Annotations, image_ids: Sequence[int], results: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], Sequence[dict[str, Any]], int]:
    """Return the objects and the results that count, in COCO's formats, and how many of a class and an image.

    They are those of LVIS' rules where the annotations are LVIS'.
    """
    truth = _ground_truth(annotations, image_ids)
    if annotations.coverage is None:
        return truth, results, MAX_DETECTIONS * annotations.tiles
    most = LVIS_DETECTIONS * annotations.tiles
    return with_partial(annotations, truth), counted(annotations, results), most


def _without_masks(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results without their masks, from which the engines would take the areas of boxes too."""
    return [{k: v for k, v in result.items() if k != "segmentation"} for result in results]


def _without_boxes(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results without their boxes, which the engines would take for the masks."""
    return [{k: v for k, v in result.items() if k != "bbox"} for result in results]


def sizes_of(annotations: Annotations, image_ids: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Return (rows, columns) of each image."""
    return {image_id: annotations.image(image_id).hw for image_id in image_ids}


def unique_names(annotations: Annotations) -> list[str]:
    """Return the class names, in which names that occur twice are distinguished by their ids."""
    return class_labels(annotations.class_names, annotations.class_ids)


def to_coco_results(
    found: Mapping[int, Detections],
    class_ids: Sequence[int],
    sizes: Mapping[int, tuple[int, int]],
) -> list[dict[str, Any]]:
    """Return detections in COCO's result format.

    Each has a bbox [x, y, width, height] in image px and a category id of the data set; with masks it also
    has a "segmentation", in run lengths of the image. sizes: (rows, columns) by image id.
    """
    results = []
    for image_id, d in found.items():
        boxes = d.boxes.double().numpy()
        boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        rows = zip(boxes.tolist(), d.scores.tolist(), d.labels.tolist(), strict=True)
        of_image: list[dict[str, Any]] = [
            {"image_id": image_id, "category_id": class_ids[label], "bbox": box, "score": score}
            for box, score, label in rows
        ]
        if d.masks is not None:
            for k, result in enumerate(of_image):
                result["segmentation"] = _run_lengths(d[k : k + 1], sizes[image_id])
        results += of_image
    return results


def _run_lengths(found: Detections, hw: tuple[int, int]) -> dict[str, Any]:
    """Return the run lengths of a single detection's mask.

    The mask is pasted only where the box is, as nothing of it lies beyond.
    """
    (first, last), (rows, columns) = found.boxes[0].view(2, 2), hw
    left, top = first.floor().int().clamp(min=0).tolist()
    right, bottom = (min(v) for v in zip(last.ceil().int().tolist(), (columns, rows), strict=True))
    near = replace(found, boxes=found.boxes - found.boxes.new_tensor([left, top] * 2))
    pasted = np.zeros(hw, dtype=np.uint8, order="F")
    window = paste_masks(near, (bottom - top, right - left))
    pasted[top:bottom, left:right] = window[0].numpy()
    encoded = mask.encode(pasted)
    return {"size": list(hw), "counts": encoded["counts"].decode()}


def _ground_truth(annotations: Annotations, image_ids: Sequence[int]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for image_id in image_ids:
        objects, hw = annotations.of_image(image_id), annotations.image(image_id).hw
        for k in range(len(objects)):
            x1, y1, x2, y2 = objects.boxes[k].tolist()
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image_id,
                    "category_id": annotations.class_ids[int(objects.labels[k])],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(objects.area[k]),
                    "iscrowd": int(objects.crowd[k]),
                    **(
                        {}
                        if objects.outlines is None
                        else {"segmentation": objects.outlines.coco(k, hw)}
                    ),
                }
            )
    classes = zip(annotations.class_ids, annotations.class_names, strict=True)
    return {
        "images": [
            {"id": image_id, "height": hw[0], "width": hw[1]}
            for image_id, hw in sizes_of(annotations, image_ids).items()
        ],
        "annotations": rows,
        "categories": [{"id": class_id, "name": name} for class_id, name in classes],
    }
