"""How long a run is where nothing else is said; this module imports no torch.

The constants were chosen by measurement (docs/recipe.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Least(NamedTuple):
    """The length of a run: so many steps on a small data set, so many epochs on a large one."""

    steps: int
    epochs: int


# With one view the features of an image are always the same, and heads soon learn them by heart.
ONE_VIEW, SEVERAL_VIEWS = Least(400, 10), Least(1_500, 12)
EVALUATIONS = 10


def auto_epochs(images: int, batch_size: int, views: int) -> int:
    """Return the number of epochs of a run on so many images. views: how many each of them has."""
    least = ONE_VIEW if views == 1 else SEVERAL_VIEWS
    return max(least.epochs, math.ceil(least.steps * batch_size / images))
