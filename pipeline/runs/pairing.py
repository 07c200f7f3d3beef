"""Checks that a run fits a cache, another run or other annotations: by its features and its classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...cache.errors import InputError, KeyMismatch
from ...cache.key import CacheKey, Difference
from ..dataset.annotations import Annotations
from ..dataset.classes.embeddings import ClassEmbeddings
from .info import RunInfo


def differences(here: RunInfo, there: RunInfo) -> list[Difference]:
    """Return the differences of the features of two runs, including those of a second backbone.

    Only what matters for pairing is compared.
    """
    found = here.key.explain(there.key, "pair")
    mine, theirs = here.second, there.second
    if mine is None or theirs is None:
        if mine is theirs:
            return found
        mine_named, theirs_named = (key.backbone if key else "none" for key in (mine, theirs))
        return [*found, Difference("second cache", mine_named, theirs_named, True)]
    further = mine.explain(theirs, "pair")
    return [*found, *(replace(d, field=f"second cache's {d.field}") for d in further)]


def check_features(
    info: RunInfo,
    key: CacheKey,
    cache: Path | str,
    second_key: CacheKey | None = None,
    second: Path | str | None = None,
) -> list[str]:
    """Return the harmless differences (library versions) of a cache's features from those of the run.

    second_key, second: the cache of a second backbone. Raises KeyMismatch for differences that matter, and
    InputError where there is a second cache but the run has none, or vice versa.
    """
    found = _explained(info.key, key, f"{cache} holds", "training cache")
    if info.second is None and second_key is not None:
        raise InputError(f"--with {second}: this run was trained on one cache alone; leave it out")
    if info.second is None:
        return found
    if second_key is None:
        raise InputError(
            f"this run was trained on two caches; give one of {info.second.backbone} too, with --with"
        )
    who = f"--with {second}: it holds"
    return [*found, *_explained(info.second, second_key, who, "second training cache")]


def _explained(mine: CacheKey, theirs: CacheKey, who: str, like: str) -> list[str]:
    differences = mine.explain(theirs, "pair")
    fatal = [str(d) for d in differences if d.fatal]
    if fatal:
        raise KeyMismatch(
            f"{who} other features than this run was trained on: {'; '.join(fatal)} (here: the run, "
            f"there: the cache); extract it with the settings of the {like}"
        )
    return [str(d) for d in differences]


def with_classes(info: RunInfo, given: ClassEmbeddings, annotations: Annotations | None) -> RunInfo:
    """Return a run with other classes: those of the annotations, or all that are given.

    Classes without annotations are numbered from 1 on. The frequency groups are those that the annotations
    name, else those of training, with new classes as rare.
    """
    if annotations is None:
        ids, names, named = tuple(range(1, len(given.names) + 1)), given.names, None
    else:
        ids, names = annotations.class_ids, annotations.class_names
        named = annotations.declared
    known = dict(zip(info.class_names, info.frequencies, strict=True))
    often = named or tuple(known.get(name, "r") for name in names)
    return replace(info, class_ids=ids, class_names=names, frequencies=often)


def labelled(info: RunInfo, annotations: Annotations, source: str) -> Annotations:
    """Return the annotations with the classes of the run, of which they may lack some, and its labels.

    Raises InputError where they have a class, by id and name, that the run has not.
    """
    mine = dict(zip(info.class_ids, info.class_names, strict=True))
    theirs = dict(zip(annotations.class_ids, annotations.class_names, strict=True))
    if not theirs.items() <= mine.items():
        odd = sorted(set(theirs.items()) - set(mine.items()))[:3]
        raise InputError(
            f"{source}: its classes are not those that the run was trained on; it lacks (id, name): "
            f"{', '.join(map(str, odd))}; `fdet dataset convert` of the data sets in one command gives "
            "classes of one name the same ids"
        )
    return annotations.with_classes(info.class_ids, info.class_names)
