"""The questions that the page may ask: a fixed table, each answered with JSON.

An error of fdet (a damaged sample, a missing file) is an answer too: {"error": why}.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from ....cache.errors import FdetError, InputError
from .collection import Collection
from .facts import about, list_images, sample_facts
from .heat import DISPLAYS, heat_map
from .histograms import by_channel, histogram
from .picture import picture
from .sizes import sizes

_LARGEST_TEXT = 200


class BadQuestion(Exception):
    """A malformed question: it does not come from our page, or the page has a bug."""


class Question:
    """The named values of the query of a URL."""

    def __init__(self, query: str) -> None:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=16)
        except ValueError as error:
            raise BadQuestion(str(error)) from error
        self._values = dict(pairs)

    def text(self, name: str) -> str:
        """Return a text, empty where it is not given."""
        return self._values.get(name, "")[:_LARGEST_TEXT]

    def word(self, name: str, known: Iterable[str]) -> str:
        """Return one of a few known words, by default the first."""
        words = list(known)
        found = self._values.get(name) or words[0]
        if found not in words:
            raise BadQuestion(f"{name}: expected {', '.join(words)}")
        return found

    def number(self, name: str, below: int = 2**63) -> int:
        """Return a number from 0 to `below` - 1, or 0 where it is not given."""
        found = self.optional_number(name, below)
        return 0 if found is None else found

    def optional_number(self, name: str, below: int = 2**63) -> int | None:
        """Return a number from 0 to `below` - 1, or None where it is not given."""
        text = self._values.get(name, "")
        if not text:
            return None
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else below
        if number >= below:
            raise BadQuestion(f"{name}: expected 0 to {below - 1}")
        return number


def answer(collection: Collection, path: str, query: str) -> bytes | None:
    """Return the answer as JSON, or None for an unknown path. Raises BadQuestion."""
    if path not in ANSWERS:
        return None
    try:
        found = ANSWERS[path](collection, Question(query))
    except FdetError as error:
        found = {"error": str(error)}
    return json.dumps(found, default=_encoded, allow_nan=False).encode()


def _about(collection: Collection, question: Question) -> dict[str, Any]:
    return about(collection)


def _images(collection: Collection, question: Question) -> dict[str, Any]:
    return list_images(
        collection,
        question.text("words"),
        question.word("show", ("all", "boxes", "failed")),
        question.optional_number("label"),
        question.number("offset"),
        question.optional_number("around"),
    )


def _sample(collection: Collection, question: Question) -> dict[str, Any]:
    return sample_facts(collection, *_sample_of(collection, question))


def _picture(collection: Collection, question: Question) -> dict[str, Any]:
    return picture(collection, *_sample_of(collection, question))


def _heat(collection: Collection, question: Question) -> dict[str, Any]:
    show, number = question.word("show", DISPLAYS), question.number("number")
    sample, level = _sample_of(collection, question), _level_of(collection, question)
    return heat_map(collection, sample, level, show, number)


def _histogram(collection: Collection, question: Question) -> dict[str, Any]:
    maps = collection.maps(_sample_of(collection, question))[_level_of(collection, question)]
    channel = question.optional_number("channel")
    if channel is None:
        return histogram(maps)
    if channel >= len(maps):
        raise InputError(f"channel {channel}: this level has 0 to {len(maps) - 1}")
    return histogram(maps[channel])


def _channels(collection: Collection, question: Question) -> dict[str, Any]:
    return by_channel(
        collection.maps(_sample_of(collection, question))[_level_of(collection, question)]
    )


def _sizes(collection: Collection, question: Question) -> dict[str, Any]:
    return sizes(collection.cache)


ANSWERS: Mapping[str, Callable[[Collection, Question], dict[str, Any]]] = {
    "about": _about,
    "images": _images,
    "sample": _sample,
    "picture": _picture,
    "heat": _heat,
    "histogram": _histogram,
    "channels": _channels,
    "sizes": _sizes,
}


def _sample_of(collection: Collection, question: Question) -> tuple[int, int]:
    return question.number("image"), question.number("view", len(collection.cache.views))


def _level_of(collection: Collection, question: Question) -> int:
    return question.number("level", len(collection.codec.levels))


def _encoded(value: object) -> Any:
    """Encode bytes and little-endian arrays in base64, arrays together with their shape."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    assert isinstance(value, np.ndarray), type(value)
    return {"shape": value.shape, "data": base64.b64encode(value.tobytes()).decode()}
