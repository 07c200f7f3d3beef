"""The partition of groups: whole, in the right shares, with every class in every split where that can be."""

import itertools
import random
from collections import Counter

import pytest

from fdet.pipeline.dataset.splits.partition import Group, joined_groups, lacking, partitioned

TWO, THREE = [0.8, 0.2], [0.7, 0.2, 0.1]


def at_random(seed, most=9):
    """Groups of one to three images, each with some of a few classes."""
    chance = random.Random(seed)
    classes = [f"class {k}" for k in range(chance.randint(1, 6))]
    return [
        Group(
            f"group {k}",
            chance.randint(1, 3),
            {name: chance.randint(1, 5) for name in classes if chance.random() < 0.35},
        )
        for k in range(chance.randint(3, most))
    ]


def missing(groups, splits, count):
    """How many classes are in fewer splits than they have groups for."""
    absent = lacking(groups, splits, count)
    present = {
        name: {s for g, s in zip(groups, splits, strict=True) if name in g.objects}
        for name in absent
    }
    return sum(len(present[name]) < min(number, count) for name, number in absent.items())


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("shares", [TWO, THREE], ids=["two", "three"])
def test_every_split_has_images_and_every_class_that_can_be_there(shares, seed):
    groups = at_random(seed)
    splits = partitioned(groups, shares, seed)
    assert set(splits) == set(range(len(shares)))
    if missing(groups, splits, len(shares)):
        every = itertools.product(range(len(shares)), repeat=len(groups))
        assert all(missing(groups, other, len(shares)) for other in every)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_the_groups_and_of_their_classes_changes_nothing(seed):
    groups = at_random(seed, most=30)
    by_name = {g.name: s for g, s in zip(groups, partitioned(groups, THREE, 5), strict=True)}
    shuffled = [Group(g.name, g.images, dict(reversed(g.objects.items()))) for g in groups]
    random.Random(seed).shuffle(shuffled)
    again = partitioned(shuffled, THREE, 5)
    assert {g.name: s for g, s in zip(shuffled, again, strict=True)} == by_name


def test_another_seed_is_another_partition():
    groups = [Group(str(k), 1, {"cat": 1}) for k in range(40)]
    assert partitioned(groups, TWO, 0) != partitioned(groups, TWO, 1)


@pytest.mark.parametrize("shares", [TWO, THREE, [0.5, 0.5]])
def test_images_and_objects_of_each_class_have_their_shares(shares):
    chance = random.Random(3)
    groups = [
        Group(
            str(k),
            1,
            {
                f"class {c}": chance.randint(1, 4)
                for c in {int(5 * chance.random() ** 3) for _ in range(chance.randint(0, 5))}
            },
        )
        for k in range(1000)
    ]
    splits = partitioned(groups, shares, 0)
    total, parts = Counter(), [Counter() for _ in shares]
    for group, split in zip(groups, splits, strict=True):
        total.update(group.objects)
        parts[split].update(group.objects)
    for k, share in enumerate(shares):
        assert splits.count(k) / 1000 == pytest.approx(share, abs=0.002)
        for name, count in total.items():
            assert parts[k][name] / count == pytest.approx(share, abs=0.02)


def test_images_without_objects_have_the_shares_too():
    splits = partitioned([Group(str(k), 1, {}) for k in range(50)], THREE, 0)
    assert Counter(splits) == {0: 35, 1: 10, 2: 5}


def test_a_rare_class_goes_into_both_splits():
    common = [Group(str(k), 1, {"cat": 3}) for k in range(100)]
    rare = [Group("a", 1, {"cow": 9, "cat": 1}), Group("b", 1, {"cow": 1})]
    splits = partitioned([*common, *rare], TWO, 0)
    assert (splits[-2], splits[-1]) == (0, 1), "training has more of it"


def test_classes_that_one_split_must_lack_are_named():
    odd = [
        Group("1", 1, {"a": 1, "b": 1}),
        Group("2", 1, {"b": 1, "c": 1}),
        Group("3", 1, {"c": 1, "a": 1}),
    ]
    splits = partitioned(odd, TWO, 0)
    assert len(lacking(odd, splits, 2)) == 1
    assert lacking([Group("1", 1, {"a": 1})], [0], 2) == {"a": 1}


def test_groups_join_what_shares_a_key_through_others():
    keys = [["a"], ["b"], ["a", "b"], ["c"], [], ["d", "c"]]
    assert sorted(map(sorted, joined_groups(keys))) == [[0, 1, 2], [3, 5], [4]]
    assert joined_groups([]) == []


def test_a_large_set_is_split_in_moments():
    """Nothing is quadratic in the groups of a class: it would take minutes."""
    groups = [Group(str(k), 1, {"person": 2, f"class {k % 900}": 1}) for k in range(30_000)]
    splits = partitioned(groups, TWO, 0)
    assert not lacking(groups, splits, 2)
