"""A data set written as YOLO has it: a label file for each image, and data.yaml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....cache.disk.publish import publish_bytes
from ....cache.errors import InputError
from ....cache.wording import counted
from ..annotations import Annotations
from ..formats.files import first_few
from ..formats.splits import SPLITS, usual_name
from ..formats.yolo_layout import label_places
from ..formats.yolo_yaml import yaml_mapping, yaml_names
from ..images.decoding import ImageError, read_header
from ..images.threads import in_threads
from .losses import lost_details, lost_image_ids, outline_of
from .placing import Placed, class_names, merged_by_file, own_names, place_all, split_name

Floats = npt.NDArray[np.float64]


def write_yolo(annotations: Annotations, images: Path, out: Path, split: str | None) -> list[str]:
    """Write out/images/SPLIT, out/labels/SPLIT and out/data.yaml, to which further splits are added.

    A set without splits is written as "train". Raises InputError, StorageError.
    """
    _refuse_turned(annotations, images)
    annotations, merged = merged_by_file(annotations)
    folder = split_name(split, "train")
    names, remarks = own_names(annotations)
    labels = _Labels(annotations)
    placed = []
    for position, image in enumerate(annotations.images):
        target = out / "images" / folder / names[image.file_name]
        label = next(label_places(target))
        content = labels.of_image(position).encode()
        placed.append(Placed(images / image.file_name, target, label, content))
    place_all(placed)
    remarks += [*labels.remarks(), *_described(annotations, out / "data.yaml", folder)]
    if annotations.class_ids != tuple(range(len(annotations.class_ids))):
        remarks.append(
            "class ids are not kept: classes are numbered from 0 in the order of their ids"
        )
    lost = [*lost_image_ids(annotations), *lost_details(annotations, boxes=False)]
    return [*merged, *remarks, *lost]


def _refuse_turned(annotations: Annotations, images: Path) -> None:
    """Raise InputError for images whose boxes are those of the file before its EXIF rotation.

    Labels are fractions of the upright image, which is what YOLO's readers look at.
    """
    entries = annotations.images
    sizes = in_threads("reading image sizes", lambda i: _upright(images / i.file_name), entries)
    differing = [
        f"{image.file_name} ({hw[1]}x{hw[0]}, annotations {image.hw[1]}x{image.hw[0]})"
        for image, hw in zip(entries, sizes, strict=True)
        if hw is not None and hw != image.hw
    ]
    if differing:
        raise InputError(
            f"{counted(len(differing), 'image has', 'images have')} another size than the annotations say: "
            f"{first_few(differing)}; where EXIF rotates them, rotate the files or take that out"
        )


def _upright(file: Path) -> tuple[int, int] | None:
    try:
        return read_header(file).upright_hw
    except ImageError:
        return None  # Linking the file says that it is missing, and readers that it cannot be read.


class _Labels:
    """The label files of annotations; counts what they change.

    crowds: how many objects are left out, since YOLO has no crowds. clipped: how many reached too far.
    """

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self.crowds = 0
        self.clipped = 0

    def of_image(self, position: int) -> str:
        """Return the label file of an image."""
        annotations = self.annotations
        packed, (rows, columns) = annotations.packed, annotations.images[position].hw
        lines = []
        for k in range(int(annotations.starts[position]), int(annotations.starts[position + 1])):
            if packed.crowd[k]:
                self.crowds += 1
                continue
            corners = np.array(outline_of(annotations, k)).reshape(-1, 2)
            box = packed.boxes[k]
            if packed.outlines is None:
                values = self._box(box / [columns, rows, columns, rows])
            else:
                # All lines of a file are polygons, or none is: programs take one such line as a sign.
                corners = corners if len(corners) else box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
                values = self._within(corners / [columns, rows]).ravel()
            lines.append(" ".join([str(int(packed.labels[k])), *map(_shown, values.tolist())]))
        return "".join(f"{line}\n" for line in lines)

    def _box(self, corners: Floats) -> Floats:
        """Return cx, cy, w, h of a box given by its corners, all of them fractions."""
        values = _centred(corners)
        if (values < 0).any() or (values > 1).any():
            return _centred(self._within(corners))
        return values

    def _within(self, values: Floats) -> Floats:
        clipped = values.clip(0, 1)
        self.clipped += bool((clipped != values).any())
        return clipped

    def remarks(self) -> list[str]:
        """Return a sentence for each thing that was changed."""
        said = []
        if self.crowds:
            what = counted(self.crowds, "crowd is", "crowds are")
            said.append(f"{what} left out: YOLO has none")
        if self.clipped:
            what = counted(
                self.clipped,
                "object that reaches beyond its image is clipped to it",
                "objects that reach beyond their image are clipped to it",
            )
            said.append(what)
        return said


def _centred(corners: Floats) -> Floats:
    return np.concatenate([(corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]])


def _shown(value: float) -> str:
    """Return a fraction with so many digits that it is exact to a thousandth of a thousandth of a px."""
    return f"{value:.11f}".rstrip("0").rstrip(".")


def _described(annotations: Annotations, file: Path, folder: str) -> list[str]:
    """Write data.yaml with this split and those that it has already. Raises InputError."""
    import yaml

    names = dict(enumerate(class_names(annotations)))
    given = yaml_mapping(file) if file.is_file() else {}
    if given and yaml_names(given, file) != names:
        raise InputError(
            f"{file}: its classes differ from those of the split {folder}; choose another --out"
        )
    places = {split: given[split] for split in SPLITS if split in given}
    # A set may have both "val" and "valid".
    key = usual_name(folder) if usual_name(folder) not in places else folder
    places[key] = f"images/{folder}"
    data = {**places, "nc": len(names), "names": names}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10**6)
    publish_bytes(file, text.encode(), existing="replace")
    return (
        [] if key in SPLITS else [f"YOLO has no split {key!r}: name it in {file.name} to read it"]
    )
