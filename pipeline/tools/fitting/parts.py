"""The two parts of the data, for training and for evaluation, as the other commands name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ....cache.errors import InputError
from ...dataset.data_name import DataName
from ...dataset.data_set import DataSet, check_data_name, read_data_set, splits_of
from ...dataset.formats.splits import split_in, usual_name
from .options import FitOptions
from .paths import word_of

_KINDS = {"train": ("train",), "val": ("val", "valid", "validation")}
# The formats of COCO JSON, which `fdet dataset split` and caches keep. Only --format makes LVIS of it.
JSON = ("coco", "lvis")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the data. images, format, split: what looking at the path does not tell.

    option: the command-line option that names its split, for messages. present: whether it is read without
    the images that are missing, since errors in the data are ignored.
    """

    path: Path
    images: Path | None = None
    format: str | None = None
    split: str | None = None
    option: str = field(default="--split", compare=False)
    present: bool = field(default=False, compare=False)

    @property
    def words(self) -> list[str]:
        """The part as the data set of `fdet extract`."""
        return [word_of(self.path), *self.options]

    @property
    def options(self) -> list[str]:
        """The options of the part as a data set."""
        images = [] if self.images is None else ["--images", word_of(self.images)]
        return [*images, *_given({"--format": self.format, "--split": self.split})]

    @property
    def annotation_words(self) -> list[str]:
        """The part as the data set of --annotations of `fdet predict`."""
        named = _given({"--annotations-format": self.format, "--split": self.split})
        return ["--annotations", word_of(self.path), *named]

    def read(self) -> DataSet:
        """Read the data set; the check of a fit says which images are missing. Raises InputError."""
        return read_data_set(
            self.path,
            self.images,
            format=self.format,
            split=self.split,
            whole=False,
            present=self.present,
        )

    def check(self) -> None:
        """Raise InputError where there is no such data set; its contents are not read."""
        check_data_name(DataName(self.path, self.format, self.split, self.option))


def named_parts(options: FitOptions) -> tuple[Part, Part | None]:
    """Return the part to train on, and the one to evaluate on; None where the first is to be split.

    Raises InputError.
    """
    train = _train_part(options)
    train.check()
    val = _val_part(options)
    if val is None:
        return train, None
    val.check()
    if not _same(train, val):
        return train, val
    if options.val is not None or options.val_split is not None:
        raise InputError(
            f"{val.path}: the same data would be for training and for validation; name others by --val or "
            "--val-split, or leave these out to split off a fifth"
        )
    return train, None


def _same(train: Part, val: Part) -> bool:
    """Return whether two parts are one."""
    same_path = train.path.resolve() == val.path.resolve()
    return same_path and usual_name(train.split or "") == usual_name(val.split or "")


def split_parts(folder: Path, images: Path | None, options: FitOptions) -> tuple[Part, Part]:
    """Return the parts that `fdet dataset split` has written into a folder."""
    format = json_format(options.format)
    train, val = (Part(folder / f"{name}.json", images, format) for name in ("train", "val"))
    return train, val


def json_format(format: str | None) -> str | None:
    """Return the format of a part that was written as COCO JSON. format: the one that was asked for."""
    return format if format in JSON else None


def check_words(train: Part, val: Part, folders: Sequence[Path]) -> list[str] | None:
    """Return the words of one `fdet dataset check` for both parts; None where no command can name both.

    folders: those of their images, as they were found, or one for both.
    """
    same_folder = train.images == val.images
    if same_folder and train.path == val.path:
        chosen = ["--split", str(train.split), "--split", str(val.split)]
        return [*Part(train.path, train.images, train.format).words, *chosen]
    if train.path == val.path or not all(map(_is_only_split, (train, val))):
        return None
    whole = Part(val.path, train.images, train.format)
    if same_folder:
        return [word_of(train.path), *whole.words]
    images = [word for folder in folders for word in ("--images", word_of(folder))]
    return [word_of(train.path), *replace(whole, images=None).words, *images]


def _is_only_split(part: Part) -> bool:
    return part.split is None or len(splits_of(part.path, part.format)) == 1


def _train_part(options: FitOptions) -> Part:
    split = options.split or _split_like("train", options.data, options.format)
    present = options.ignore_errors
    return Part(options.data, options.images, options.format, split, present=present)


def _val_part(options: FitOptions) -> Part | None:
    folder, present = options.val_images or options.images, options.ignore_errors
    if options.val is not None:
        _check_there("--val", options.val)
        split = options.val_split or _split_like("val", options.val, options.format)
        return Part(options.val, folder, options.format, split, "--val-split", present)
    splits = splits_of(options.data, options.format)
    found = options.val_split or _only("val", splits)
    if found is not None:
        return Part(options.data, folder, options.format, found, "--val-split", present)
    if options.val_images is not None:
        raise InputError(
            f"--val-images {options.val_images}: {options.data} has no split for validation; name one by "
            "--val or --val-split, or leave it out"
        )
    return None


def _check_there(option: str, path: Path) -> None:
    """Raise InputError, which names the option, where there is no such file or folder."""
    try:
        path.stat()
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}") from error


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


def _given(options: dict[str, str | None]) -> list[str]:
    """Return the words of the options that have a value."""
    return [word for flag, value in options.items() if value for word in (flag, value)]
