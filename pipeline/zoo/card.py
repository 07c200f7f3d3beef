"""The card of an entry: what a zoo says of a run without opening it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...cache.errors import CorruptCache, InputError
from ...cache.format.sealed import SEAL, digest_or_none, parse_sealed, sealed_json
from ..runs.history import evaluations_of, read_history
from ..runs.info import RunInfo
from ..runs.position import BEST

FORMAT = 1
MAX_CARD_BYTES = 2**22
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of an entry.

    backbone, weights: the backbones and the origin of their weights. ap, ap50: of the best evaluation, as
    fractions; None where there was none. data, licence: as they were given, "" for none. run: the digest of
    the run. archive_sha256, size: of its archive, in bytes; of a run directory, "" and that of its weights.
    """

    name: str
    backbone: str
    weights: str
    levels: tuple[str, ...]
    neck: str
    head: str
    classes: tuple[str, ...]
    ap: float | None
    ap50: float | None
    data: str
    licence: str
    run: str
    archive_sha256: str
    size: int

    def to_bytes(self) -> bytes:
        """Return the bytes of the card's file, with a digest of their own."""
        return sealed_json({"format": FORMAT, **asdict(self)})


def card_of(run: Path, name: str, data: str = "", licence: str = "") -> Card:
    """Return the card of a run directory. Raises InputError where it is no run, or has no weights yet."""
    info, weights = RunInfo.read(run), run / BEST
    if not weights.is_file():
        raise InputError(f"{run}: it has no {BEST}; train it to its first evaluation at least")
    evaluations = evaluations_of(read_history(run))
    best: Mapping[str, Any] = max(evaluations, key=lambda e: e.ap).metrics if evaluations else {}
    keys = [key for key in (info.key, info.second) if key is not None]
    return Card(
        checked_name(name),
        info.backbones,
        " + ".join(key.weights_origin for key in keys),
        info.levels.names,
        info.config.neck.name,
        info.config.head.name,
        info.class_names,
        best.get("ap"),
        best.get("ap50"),
        _text("--data", data),
        _text("--licence", licence),
        info.digest,
        "",
        weights.stat().st_size,
    )


def parse_card(raw: bytes, path: Path) -> Card:
    """Return the card in the bytes of a file. Raises CorruptCache, InputError for a newer format."""
    data = parse_sealed(raw, path)
    if data.get("format") != FORMAT:
        raise InputError(f"{path}: format {data.get('format')}; this fdet reads format {FORMAT}")
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in data.items()}
    try:
        card = Card(**{n: v for n, v in values.items() if n not in ("format", SEAL)})
        _check(card)
    except (TypeError, ValueError, InputError) as error:
        raise CorruptCache(f"{path}: not a card of a zoo ({error})") from error
    return card


def checked_name(name: str) -> str:
    """Return a name that an entry may have. Raises InputError for any other."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError(
            f"name {name!r}: expected at most 100 letters, digits, dots, dashes and underscores, the first "
            "of them a letter or a digit"
        )
    return name


def _check(card: Card) -> None:
    checked_name(card.name)
    for field in fields(card):
        value = getattr(card, field.name)
        if field.name in ("levels", "classes"):
            fits = isinstance(value, tuple) and all(isinstance(v, str) for v in value)
        elif field.name in ("ap", "ap50"):
            fits = value is None or isinstance(value, int | float)
        elif field.name == "size":
            fits = type(value) is int and value >= 0
        else:
            fits = isinstance(value, str)
        if not fits:
            raise ValueError(f"{field.name}: {value!r}")
    digest_or_none(card.archive_sha256)


def _text(option: str, text: str) -> str:
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise InputError(f"{option}: expected at most {_MAX_TEXT} printable characters on one line")
    return text
