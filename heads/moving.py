"""The move of weights into a detector of other classes or on other features."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..cache.pyramid import PyramidSpec
from .build import build_detector
from .class_rows import NO_CLASS
from .detector import Detector
from .family import HeadSettings, NeckSettings
from .necks.settings import IdentitySettings


class Moved(NamedTuple):
    """The tensors of a detector after a move, by name.

    tensors: all of them. fresh: the names of those of which nothing has moved.
    """

    tensors: dict[str, Tensor]
    fresh: tuple[str, ...]


def moved(
    mine: Detector, theirs: Detector, classes: Mapping[int, int], without: Set[str] = frozenset()
) -> Moved:
    """Return the tensors of `mine` with those of `theirs` in place of all that have their name and shape.

    Of layers that learn something for each class, only the rows of classes that both know move. classes: the
    label there of each label here that is known there. without: the names of tensors that stay fresh.
    """
    own, others = mine.state_dict(), theirs.state_dict()
    rows, other_rows = _class_rows(mine), _class_rows(theirs)
    result, fresh = dict(own), []
    for name, value in own.items():
        other = others.get(name)
        if other is None or name in without or other.dtype != value.dtype:
            fresh.append(name)
        elif name in rows and name in other_rows and other.shape[1:] == value.shape[1:]:
            result[name] = _by_class(value, other, rows[name], other_rows[name], classes)
        elif other.shape == value.shape:
            result[name] = other
        else:
            fresh.append(name)
    return Moved(result, tuple(fresh))


def readers(spec: PyramidSpec, neck: NeckSettings, head: HeadSettings) -> frozenset[str]:
    """Return the names of the tensors that read the cached levels of `spec`.

    They are those whose shape depends on the number of channels of these levels.
    """
    if isinstance(neck, IdentitySettings):  # It states the number that the levels must have.
        neck = replace(neck, channels=0)
    wider = PyramidSpec(tuple(replace(v, channels=2 * v.channels) for v in spec.levels))
    with torch.device("meta"):
        shapes, others = (
            {n: v.shape for n, v in build_detector(s, 1, neck, head).state_dict().items()}
            for s in (spec, wider)
        )
    return frozenset(name for name, shape in shapes.items() if others.get(name) != shape)


def _class_rows(detector: Detector) -> dict[str, Tensor]:
    """Return the classes of the rows of each tensor that has some, by the tensor's name."""
    names: dict[nn.Module, str] = {module: name for name, module in detector.named_modules()}
    return {
        f"{names[layer]}.{name}": rows
        for layer, rows in detector.head.class_rows
        for name, _ in layer.named_parameters(recurse=False)
    }


def _by_class(
    mine: Tensor, theirs: Tensor, rows: Tensor, other_rows: Tensor, classes: Mapping[int, int]
) -> Tensor:
    """Return `mine` (N, ...) with the rows that `theirs` (M, ...) has for the same classes.

    rows, other_rows: (N,) and (M,), their classes; those of no class are the same everywhere.
    """
    result = mine.clone()
    for here, there in {NO_CLASS: NO_CLASS, **classes}.items():
        result[rows == here] = theirs[other_rows == there].to(result.device)
    return result
