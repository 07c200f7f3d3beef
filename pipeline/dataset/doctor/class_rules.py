"""Rules on classes: numbered differently, named alike, without objects, with few, or in one split alone."""

from __future__ import annotations

import re
from collections import defaultdict

from ..formats.splits import usual_name
from .finding import Finding, Severity, found
from .subject import Subject
from .summary import objects_by_class

# A class with fewer objects than this is hard to learn, and its AP says little.
FEW_OBJECTS = 10


def numbered_differently(subject: Subject) -> Finding | None:
    """Find classes that the splits list under different ids, or that some do not list.

    That the others lack some of the classes to train on is a note: they have no objects there.
    """
    lists = [
        set(zip(s.annotations.class_ids, s.annotations.class_names, strict=True))
        for s in subject.splits
    ]
    everywhere, anywhere = set.intersection(*lists), set.union(*lists)
    odd = sorted(anywhere - everywhere)
    examples = [
        f"{class_id} {name}: only in "
        + ", ".join(
            s.name for s, own in zip(subject.splits, lists, strict=True) if (class_id, name) in own
        )
        for class_id, name in odd
    ]
    what = "classes are not listed by all splits with the same id"
    names = [usual_name(split.name) for split in subject.splits]
    trained = lists[names.index("train") if "train" in names else 0]
    if anywhere == trained:
        advice = "nothing: the splits that lack them have no objects of these classes"
        return found(Severity.note, examples, len(anywhere), what, advice)
    advice = (
        "give all splits one list of classes: what is not learnt from one is not found in another"
    )
    return found(Severity.error, examples, len(anywhere), what, advice)


def named_alike(subject: Subject) -> Finding | None:
    """Find classes whose names are the same but for case, spaces, _ and -."""
    alike: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)
    for split in subject.splits:
        a = split.annotations
        for class_id, name in zip(a.class_ids, a.class_names, strict=True):
            alike[re.sub(r"[\s_-]+", " ", name).strip().casefold()].add((class_id, name))
    # A class that two splits number differently is another rule's.
    groups = [
        sorted(g) for g in alike.values() if len({i for i, _ in g}) > 1 and _within(subject, g)
    ]
    return found(
        Severity.warning,
        [", ".join(f"{name!r} (id {class_id})" for class_id, name in group) for group in groups],
        len(alike),
        "names are shared by several classes",
        "join these classes if they mean the same",
    )


def _within(subject: Subject, group: set[tuple[int, str]]) -> bool:
    """Return whether one split lists several classes of a group."""
    return any(
        len(group & set(zip(s.annotations.class_ids, s.annotations.class_names, strict=True))) > 1
        for s in subject.splits
    )


def without_objects(subject: Subject) -> Finding | None:
    """Find classes that are listed and have no object."""
    table = objects_by_class(subject.splits)
    return found(
        Severity.note,
        [name for name, counts in table.items() if not any(counts)],
        len(table),
        "classes have no objects",
        "take them out of the list of classes if they are not meant to be found",
    )


def rare(subject: Subject) -> Finding | None:
    """Find classes with few objects; a note where the file itself says which classes are rare."""
    table = objects_by_class(subject.splits)
    few = sorted(
        (sum(counts), name) for name, counts in table.items() if 0 < sum(counts) < FEW_OBJECTS
    )
    declared = all(split.annotations.declared is not None for split in subject.splits)
    return found(
        Severity.note if declared else Severity.warning,
        [f"{name}: {count}" for count, name in few],
        len(table),
        f"classes have fewer than {FEW_OBJECTS} objects",
        "label more, join them with others, or expect little of them",
    )


def in_one_split(subject: Subject) -> Finding | None:
    """Find classes whose objects are all in one split, where others have objects too."""
    table = objects_by_class(subject.splits)
    with_objects = [k for k in range(len(subject.splits)) if any(c[k] for c in table.values())]
    if len(with_objects) < 2:
        return None
    alone = {
        name: next(k for k in with_objects if counts[k])
        for name, counts in table.items()
        if sum(counts[k] > 0 for k in with_objects) == 1
    }
    return found(
        Severity.warning,
        [f"{name}: only in {subject.splits[k].name}" for name, k in alone.items()],
        len(table),
        "classes have objects in one split alone",
        "they are not trained or not measured: `fdet dataset split` spreads each class",
    )
