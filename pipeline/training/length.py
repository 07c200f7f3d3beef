"""How long a run is where nothing else is said; this module imports no torch.

The constants were chosen by measurement (docs/recipe.md).
"""

from __future__ import annotations

import math

# A small data set is trained on for at least so many steps, a large one for at least so many epochs.
MIN_STEPS, MIN_EPOCHS = 1500, 12
EVALUATIONS = 10


def auto_epochs(images: int, batch_size: int) -> int:
    """Return the number of epochs: at least MIN_EPOCHS, and enough for MIN_STEPS steps."""
    return max(MIN_EPOCHS, math.ceil(MIN_STEPS * batch_size / images))
