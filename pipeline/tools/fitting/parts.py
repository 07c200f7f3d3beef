"""The two parts of the data, for training and for evaluation, as the other commands name them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ....cache.errors import InputError
from ...dataset.data_name import DataName
from ...dataset.data_set import DataSet, check_data_name, read_data_set, splits_of
from ...dataset.formats.splits import split_in
from .options import FitOptions

_KINDS = {"train": ("train",), "val": ("val", "valid", "validation")}
# The formats in which `fdet dataset split` writes COCO JSON, whose reading the user may have insisted on.
_JSON = ("coco", "lvis")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the data. images, format, split: what looking at the path does not tell."""

    path: Path
    images: Path | None = None
    format: str | None = None
    split: str | None = None

    @property
    def words(self) -> list[str]:
        """The part as the data set of `fdet extract`."""
        images = [] if self.images is None else ["--images", str(self.images)]
        return [str(self.path), *images, *self._details]

    @property
    def annotation_words(self) -> list[str]:
        """The part as the data set of --annotations."""
        return ["--annotations", str(self.path), *self._details]

    @property
    def _details(self) -> list[str]:
        given = {"--format": self.format, "--split": self.split}
        return [word for flag, value in given.items() if value for word in (flag, value)]

    def read(self) -> DataSet:
        """Read the data set. Raises InputError."""
        return read_data_set(self.path, self.images, format=self.format, split=self.split)

    def check(self) -> None:
        """Raise InputError where there is no such data set; its contents are not read."""
        check_data_name(DataName(self.path, self.format, self.split))


def named_parts(options: FitOptions) -> tuple[Part, Part | None]:
    """Return the part to train on, and the one to evaluate on; None where the first is to be split.

    Raises InputError.
    """
    train = _train_part(options)
    train.check()
    val = _val_part(options)
    if val is not None:
        val.check()
    return train, val


def split_parts(folder: Path, images: Path | None, options: FitOptions) -> tuple[Part, Part]:
    """Return the parts that `fdet dataset split` has written into a folder."""
    format = options.format if options.format in _JSON else None
    train, val = (Part(folder / f"{name}.json", images, format) for name in ("train", "val"))
    return train, val


def check_words(train: Part, val: Part) -> list[list[str]]:
    """Return the words of `fdet dataset check` for both parts: in one command where that is possible.

    Only one command sees images that are in both parts.
    """
    same_folder, same_format = train.images == val.images, train.format == val.format
    if same_folder and same_format and train.path == val.path:
        chosen = ["--split", str(train.split), "--split", str(val.split)]
        return [[*Part(train.path, train.images, train.format).words, *chosen]]
    if same_folder and same_format and train.split is None and val.split is None:
        return [[str(train.path), *val.words]]
    return [train.words, val.words]


def _train_part(options: FitOptions) -> Part:
    split = options.split or _split_like("train", options.data, options.format)
    return Part(options.data, options.images, options.format, split)


def _val_part(options: FitOptions) -> Part | None:
    folder = options.val_images or options.images
    if options.val is not None:
        split = options.val_split or _split_like("val", options.val, options.format)
        return Part(options.val, folder, options.format, split)
    splits = splits_of(options.data, options.format)
    found = options.val_split or _only("val", splits)
    if found is not None:
        return Part(options.data, folder, options.format, found)
    if options.val_images is not None:
        raise InputError(
            f"--val-images {options.val_images}: {options.data} has no split for validation; name one by "
            "--val or --val-split, or leave it out"
        )
    return None


def _split_like(kind: Literal["train", "val"], path: Path, format: str | None) -> str | None:
    """Return the split of a data set for training or validation; None where the set has no splits.

    Raises InputError where it cannot be told.
    """
    splits = splits_of(path, format)
    if not splits:
        return None
    found = splits[0] if len(splits) == 1 else _only(kind, splits)
    if found is None:
        option = "--split" if kind == "train" else "--val-split"
        raise InputError(f"{path}: it has the splits {', '.join(splits)}; say which by {option}")
    return found


def _only(kind: Literal["train", "val"], splits: tuple[str, ...]) -> str | None:
    found = [split for split in splits if split_in(split) in _KINDS[kind]]
    return found[0] if len(found) == 1 else None
