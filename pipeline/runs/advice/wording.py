"""Figures and names as the sentences have them."""

# The maximum number of names in a sentence.
NAMED = 3


def points(share: float) -> str:
    """Return a share of one as points of AP."""
    return f"{100 * share:.1f} points"


def listed(names: list[str], most: int = NAMED) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
