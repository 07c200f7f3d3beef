"""A finding: what a rule of the doctor found, how often, the first few examples, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# How many examples a finding keeps, and how many of them its line shows.
KEPT_EXAMPLES, SHOWN_EXAMPLES = 10, 3


class Severity(StrEnum):
    """The severity of a finding, the mildest first.

    A note is worth knowing, a warning worth a look; with an error, training or evaluation would suffer or
    be refused.
    """

    note = "note"
    warning = "warning"
    error = "error"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of a rule.

    count, of: how many things it is about, and of how many; `of` is None where there is no such number.
    what: the end of the sentence that begins with these numbers. examples: the first few of these things.
    advice: what to do. rule: the name of the rule in RULES.
    """

    severity: Severity
    count: int
    of: int | None
    what: str
    examples: tuple[str, ...]
    advice: str
    rule: str = ""

    @property
    def numbers(self) -> str:
        return f"{self.count}" if self.of is None else f"{self.count} of {self.of}"

    @property
    def shown_examples(self) -> str:
        """The first examples, or all where they are few."""
        more = self.count > SHOWN_EXAMPLES and bool(self.examples)
        return ", ".join(self.examples[:SHOWN_EXAMPLES]) + (", ..." if more else "")

    @property
    def line(self) -> str:
        """The finding in one line."""
        examples = f" ({self.shown_examples})" if self.examples else ""
        return f"{self.numbers} {self.what}{examples}: {self.advice}"


def found(
    severity: Severity,
    examples: Sequence[str],
    of: int | None,
    what: str,
    advice: str,
    *,
    count: int | None = None,
) -> Finding | None:
    """Return the finding of a rule that looked at each thing; None where it found none.

    examples: all things that it found, in the order of the data set. count: their number, where it is not
    that of the examples.
    """
    count = len(examples) if count is None else count
    if not count:
        return None
    return Finding(severity, count, of, what, tuple(examples[:KEPT_EXAMPLES]), advice)
