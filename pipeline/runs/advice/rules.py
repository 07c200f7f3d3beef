"""What to do next with a run: documented rules, each a function of facts that gives a sentence or nothing.

docs/training.md has the same rules with their thresholds. A difference counts only where it is more than
chance (pipeline/runs/chance.py). A new rule is one function and one row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from . import evaluation_rules, training_rules
from .facts import Facts

# The maximum number of sentences.
COUNT = 3

About = Literal["training", "evaluation"]


@dataclass(frozen=True, slots=True)
class Advice:
    """A sentence on what to do next. rule: the name of the rule that gave it."""

    rule: str
    text: str


class Rule(NamedTuple):
    """A row of RULES. topic: what it proposes; of one topic only the first sentence is given."""

    name: str
    topic: str
    about: About
    says: Callable[[Facts], str | None]


# The rules, the most valuable first.
RULES: tuple[Rule, ...] = (
    Rule("diverged", "divergence", "training", training_rules.diverged),
    Rule("not evaluated", "evaluation", "training", training_rules.not_evaluated),
    Rule("same images", "evaluation", "training", training_rules.same_images),
    Rule("falls", "views", "training", training_rules.falls),
    Rule("training far above validation", "views", "evaluation", evaluation_rules.far_above),
    Rule("still rises", "length", "training", training_rules.rises),
    Rule("one view", "views", "training", training_rules.one_view),
    Rule(
        "duplicates across classes",
        "suppression of classes",
        "evaluation",
        evaluation_rules.across_classes,
    ),
    Rule("localisation", "canvas", "evaluation", evaluation_rules.localisation),
    Rule("missed", "canvas", "evaluation", evaluation_rules.missed),
    Rule("classification", "classes", "evaluation", evaluation_rules.classification),
    Rule("background", "background", "evaluation", evaluation_rules.background),
    Rule("duplicates", "suppression", "evaluation", evaluation_rules.duplicates),
    Rule("loose boxes", "canvas", "evaluation", evaluation_rules.loose_boxes),
    Rule("small objects", "canvas", "evaluation", evaluation_rules.small_objects),
    Rule("rare classes", "classes", "evaluation", evaluation_rules.rare_classes),
    Rule("scores", "scores", "evaluation", evaluation_rules.calibration),
    Rule("few evaluations", "evaluation", "training", training_rules.few_evaluations),
)


def advise(
    facts: Facts, about: Collection[About] = ("training", "evaluation"), count: int = COUNT
) -> list[Advice]:
    """Return at most `count` sentences, the most valuable first, by the rules that are about these things."""
    found: dict[str, Advice] = {}
    for rule in RULES:
        if rule.about in about and rule.topic not in found and (text := rule.says(facts)):
            found[rule.topic] = Advice(rule.name, text)
    return list(found.values())[:count]
