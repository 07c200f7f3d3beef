"""A partition of groups of images into splits, in which each class has its share of the objects.

It is iterative stratification (Sechidis et al. 2011, On the Stratification of Multi-Label Data) of groups:
the rarest class is spread first. Images of one group stay together.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# How many moves in a row may repair a class that a split lacks, and how many groups are tried for each.
_MOVES, _TRIED = 3, 20


@dataclass(frozen=True, slots=True)
class Group:
    """Images that stay together.

    name: what identifies the group whatever the order of the images. images: their number. objects: the
    number of objects of each class, by its name.
    """

    name: str
    images: int
    objects: Mapping[str, int]


def joined_groups(keys: Sequence[Iterable[Hashable]]) -> list[list[int]]:
    """Return the positions of images in groups that share a key, directly or through others.

    keys: the keys of each image.
    """
    parent = list(range(len(keys)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    first: dict[Hashable, int] = {}
    for k, own in enumerate(keys):
        for key in own:
            parent[root(k)] = root(first.setdefault(key, k))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for k in range(len(keys)):
        groups[root(k)].append(k)
    return list(groups.values())


def partitioned(groups: Sequence[Group], shares: Sequence[float], seed: int) -> list[int]:
    """Return the number of the split of each group.

    shares: the share of each split, which add up to 1. Every split gets at least one group, of which there
    must be enough. A class is in as many splits as it has groups, as far as groups of several classes allow.
    The result depends on the groups and the seed, but not on the order of the groups.
    """
    plan = _Plan(groups, shares)
    order = sorted(range(len(groups)), key=lambda g: _drawn(seed, groups[g].name))
    left: dict[str, dict[int, None]] = defaultdict(dict)
    for g in order:
        for name in groups[g].objects:
            left[name][g] = None
    while left:
        rarest = min(left, key=lambda name: (len(left[name]), name))
        # The largest come first, since small ones even out the shares.
        for g in sorted(left[rarest], key=lambda g: -groups[g].objects[rarest]):
            plan.put(g, plan.split_for(rarest, len(left[rarest])))
            for name in groups[g].objects:
                del left[name][g]
        left = {name: those for name, those in left.items() if those}
    for g in order:
        if not groups[g].objects:
            plan.put(g, plan.emptiest())
    plan.fill_empty(order)
    for name in sorted(plan.groups_of, key=lambda name: (len(plan.groups_of[name]), name)):
        plan.repair(name)
    return [plan.where[g] for g in range(len(groups))]


def lacking(groups: Sequence[Group], splits: Sequence[int], count: int) -> dict[str, int]:
    """Return the classes that are in fewer of `count` splits than there are, and their number of groups."""
    numbers: Counter[str] = Counter()
    present: defaultdict[str, set[int]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        for name in group.objects:
            numbers[name] += 1
            present[name].add(split)
    return {name: numbers[name] for name in sorted(numbers) if len(present[name]) < count}


@dataclass(slots=True)
class _Plan:
    """A partition while it is made.

    where: the split of each group that has one. moves: which group left which split, in order. numbers:
    the number of groups of each split. objects, images: what each split still wants. present: the number of
    groups of each class in each split. groups_of: all groups of each class.
    """

    groups: Sequence[Group]
    shares: Sequence[float]
    where: dict[int, int] = field(default_factory=dict)
    moves: list[tuple[int, int]] = field(default_factory=list)
    numbers: Counter[int] = field(default_factory=Counter)
    objects: list[dict[str, float]] = field(default_factory=list)
    images: list[float] = field(default_factory=list)
    present: list[Counter[str]] = field(default_factory=list)
    groups_of: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        total: Counter[str] = Counter()
        for g, group in enumerate(self.groups):
            total.update(group.objects)
            for name in group.objects:
                self.groups_of.setdefault(name, []).append(g)
        for those in self.groups_of.values():
            those.sort(key=lambda g: self.groups[g].name)
        images = sum(group.images for group in self.groups)
        for share in self.shares:
            self.objects.append({name: share * count for name, count in total.items()})
            self.images.append(share * images)
            self.present.append(Counter())

    def put(self, g: int, split: int) -> None:
        """Put a group into a split, from the one where it was."""
        before = self.where.get(g)
        if before is not None:
            self.moves.append((g, before))
            self._count(g, before, -1)
        self.where[g] = split
        self._count(g, split, 1)

    def _count(self, g: int, split: int, sign: int) -> None:
        self.numbers[split] += sign
        self.images[split] -= sign * self.groups[g].images
        for name, count in self.groups[g].objects.items():
            self.objects[split][name] -= sign * count
            self.present[split][name] += sign

    def split_for(self, name: str, left: int) -> int:
        """Return the split that wants a class most; one without it, where no more groups are left.

        left: the number of groups of the class that have no split yet.
        """
        without = [s for s in range(len(self.shares)) if not self.present[s][name]]
        choices = without if 0 < left <= len(without) else range(len(self.shares))
        return max(
            choices, key=lambda s: (self.images[s] > 0, self.objects[s][name], self.images[s], -s)
        )

    def emptiest(self) -> int:
        """Return the split that wants most images."""
        return max(range(len(self.shares)), key=lambda s: (self.images[s], -s))

    def fill_empty(self, order: Sequence[int]) -> None:
        """Put a small group into each split that has none."""
        for split in range(len(self.shares)):
            if not self.numbers[split]:
                free = [g for g in order if self.numbers[self.where[g]] > 1]
                self.put(min(free, key=lambda g: self.groups[g].images), split)

    def missing(self, name: str) -> int:
        """Return in how many splits a class is absent although it has enough groups."""
        there = sum(1 for present in self.present if present[name])
        return min(len(self.groups_of[name]), len(self.shares)) - there

    def repair(self, name: str, depth: int = _MOVES, fixed: frozenset[int] = frozenset()) -> bool:
        """Move groups until a class is in as many splits as it can be; return whether it is.

        depth: how many moves may follow each other, each to repair what the one before took from a class.
        fixed: groups that must stay.
        """
        if self.missing(name) <= 0:
            return True
        if not depth:
            return False
        targets = [s for s in range(len(self.shares)) if not self.present[s][name]]
        donors = [g for g in self.groups_of[name] if g not in fixed]
        donors.sort(
            key=lambda g: (self.present[self.where[g]][name] < 2, len(self.groups[g].objects))
        )
        for g in donors[:_TRIED]:
            for target in targets:
                if self.numbers[self.where[g]] > 1 and self._moved(g, target, depth, fixed):
                    return True
        return False

    def _moved(self, g: int, target: int, depth: int, fixed: frozenset[int]) -> bool:
        """Move a group and repair its classes; return whether that succeeded, else take all back."""
        begun = len(self.moves)
        self.put(g, target)
        if all(self.repair(n, depth - 1, fixed | {g}) for n in sorted(self.groups[g].objects)):
            return True
        for moved, before in reversed(self.moves[begun:]):
            self.put(moved, before)
        del self.moves[begun:]
        return False


def _drawn(seed: int, name: str) -> bytes:
    """Return what orders names at random, but the same for the same seed and name."""
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()
