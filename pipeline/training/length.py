"""How long a run is where nothing else is said; this module imports no torch.

The constants were chosen by measurement (docs/recipe.md).
"""

from __future__ import annotations

import math

# A small data set is trained on for at least so many steps, twice as many with several views of each image,
# and a large one for at least so many epochs.
MIN_STEPS, MIN_EPOCHS = 750, 12
EVALUATIONS = 10


def auto_epochs(images: int, batch_size: int, views: int) -> int:
    """Return the number of epochs: at least MIN_EPOCHS, and enough for a small data set's number of steps.

    With one view the features of an image are always the same, and heads soon learn them by heart.
    """
    steps = MIN_STEPS * min(views, 2)
    return max(MIN_EPOCHS, math.ceil(steps * batch_size / images))
