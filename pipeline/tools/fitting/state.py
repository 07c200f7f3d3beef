"""fit.json: the options of a fit, what was chosen, the steps that are done, and the seconds used.

It is published whole after every step, carries its own sha256, and is data of unknown origin when it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ....cache.codecs.form import get_form
from ....cache.disk.publish import publish_bytes
from ....cache.errors import CorruptCache, FdetError
from ....cache.format.json_values import list_of, mapping_of, number_of, text_of, whole_of
from ....cache.format.sealed import digest_or_none, read_sealed, sealed_json
from ...dataset.images.views import ResizeRule, parse_views
from ...runs.presets import preset_names
from .canvas import Canvas
from .length import Length
from .paths import filled_words, kept_words

NAME = "fit.json"
FORMAT = 1
MAX_BYTES = 2**24
_DAYS = 3650 * 86400.0


@dataclass(frozen=True, slots=True)
class Done:
    """A step that is done: its command, how long it took, and its exit status."""

    words: tuple[str, ...]
    seconds: float
    status: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """The choices that are made before the extraction.

    images, val_images: the numbers of images that it was chosen for. preset: the smaller detector, None for
    that of the options. step, evaluation, after: with a limit of time, the seconds of a step, an evaluation
    and all that follows training. measured: the figures that the choice followed from, by name.
    """

    canvas: Canvas
    views: str
    codec: str
    images: int
    val_images: int
    preset: str | None = None
    step: float = 0.0
    evaluation: float = 0.0
    after: float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass
class State:
    """The state of a fit.

    out: its folder. folder: where its first command was given, which the paths in its commands are relative
    to. length: that of the training, where the time decided it. images: the folder of the images of a data
    set that was split. seconds: those that were used so far.
    """

    out: Path
    options: dict[str, Any]
    folder: str
    chosen: Chosen | None = None
    length: Length | None = None
    done: dict[str, Done] = field(default_factory=dict)
    images: str | None = None
    seconds: float = 0.0
    inputs: str = ""

    @classmethod
    def read(cls, out: Path) -> State | None:
        """Return the state in a folder, None where nothing was begun. Raises CorruptCache, StorageError."""
        if not (out / NAME).exists():
            return None
        remedy = f"put a copy of it back, choose another --out, or delete {out} to start anew"
        try:
            data = read_sealed(out, NAME, MAX_BYTES)
        except CorruptCache as error:
            raise CorruptCache(f"{error}; {remedy}") from error
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}, expected {FORMAT}")
            return cls(
                out,
                mapping_of(data["options"]),
                text_of(data["folder"]),
                None if data["chosen"] is None else _chosen(data["chosen"]),
                None if data["length"] is None else _length(data["length"]),
                dict(_done(entry, out) for entry in list_of(data["done"])),
                None if data["images"] is None else text_of(data["images"]),
                number_of(data["seconds"], 0, _DAYS),
                digest_or_none(data.get("inputs", "")),
            )
        except (LookupError, TypeError, ValueError, OverflowError, FdetError) as error:
            raise CorruptCache(f"{out / NAME}: unreadable ({error}); {remedy}") from error

    def write(self) -> None:
        """Publish the state. Raises StorageError."""
        data = {
            "format": FORMAT,
            "options": self.options,
            "folder": self.folder,
            "chosen": None if self.chosen is None else asdict(self.chosen),
            "length": None if self.length is None else asdict(self.length),
            "done": [
                {"name": name, **asdict(step), "words": kept_words(step.words, self.out)}
                for name, step in self.done.items()
            ],
            "images": self.images,
            "seconds": round(self.seconds, 3),
            "inputs": self.inputs,
        }
        publish_bytes(self.out / NAME, sealed_json(data), existing="replace")


def _chosen(data: Any) -> Chosen:
    values = mapping_of(data)
    preset, views, codec = values["preset"], text_of(values["views"]), text_of(values["codec"])
    parse_views(views)
    get_form(codec)
    if preset is not None and preset not in preset_names():
        raise ValueError(f"preset {preset!r}")
    step, evaluation, after = (
        number_of(values[name], 0, _DAYS) for name in ("step", "evaluation", "after")
    )
    measured = {
        name: number_of(value, -math.inf, math.inf)
        for name, value in mapping_of(values["measured"]).items()
    }
    images, val_images = (whole_of(values[name], 1, 2**31) for name in ("images", "val_images"))
    return Chosen(
        _canvas(values["canvas"]),
        views,
        codec,
        images,
        val_images,
        preset,
        step,
        evaluation,
        after,
        measured,
    )


def _canvas(data: Any) -> Canvas:
    values = mapping_of(data)
    short, long = (whole_of(values[name], 1, 2**16) for name in ("short", "long"))
    if not isinstance(values["square"], bool):
        raise TypeError(f"square: {values['square']!r}")
    ResizeRule(short, long, values["square"], 1)
    return Canvas(short, long, values["square"])


def _length(data: Any) -> Length:
    values = mapping_of(data)
    epochs, every = (whole_of(values[name], 1, 10**9) for name in ("epochs", "eval_every"))
    share = values["fraction"]
    return Length(epochs, every, None if share is None else number_of(share, 1e-6, 1))


def _done(data: Any, out: Path) -> tuple[str, Done]:
    values = mapping_of(data)
    words = filled_words(map(text_of, list_of(values["words"])), out)
    seconds = number_of(values["seconds"], 0, _DAYS)
    return text_of(values["name"]), Done(words, seconds, whole_of(values["status"], 0, 255))
