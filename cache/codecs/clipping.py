"""Numbers that may lie beyond a codec's codes: counted while a cache is written, and told at its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from .codec import Codec

log = logging.getLogger(__name__)

# Of a level's numbers. Below it a value is cut as seldom as one in 10,000, and a line of the log does.
WORTH_A_WARNING = 1e-4


class EndCodes:
    """Of the samples that were added. A codec that keeps each number itself has none."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.found = torch.zeros(len(codec.levels), dtype=torch.int64)
        self.numbers = torch.zeros(len(codec.levels), dtype=torch.int64)

    def add(
        self, stored: Sequence[Tensor], canvas_hw: tuple[int, int], kept: Sequence[bool]
    ) -> None:
        """(B, *stored shape) a level; kept: which of the B samples count."""
        if self.codec.form.numbers.step is None:
            return
        chosen = torch.tensor(kept)
        self.found += self.codec.at_ends(stored, canvas_hw).cpu()[:, chosen].sum(1)
        for k, level in enumerate(self.codec.spec.levels):
            channels, rows, columns = level.shape(canvas_hw)
            here = self.codec.form.stored_channels(channels) * rows * columns
            self.numbers[k] += here * int(chosen.sum())

    @property
    def shares(self) -> dict[str, float]:
        """By level, 0 to 1, where there are any."""
        names = self.codec.spec.names
        counts = zip(names, self.found.tolist(), self.numbers.tolist(), strict=True)
        return {name: found / numbers for name, found, numbers in counts if found}

    def tell(self) -> None:
        """In a line of the log, a warning where they are many."""
        if not self.shares:
            return
        many = max(self.shares.values()) >= WORTH_A_WARNING
        levels = ", ".join(f"{share:.2g} of {name}" for name, share in self.shares.items())
        advice = (
            "; more --calibration-images or a codec of wider range may keep them" if many else ""
        )
        log.log(
            logging.WARNING if many else logging.INFO,
            "codec %s: values beyond its first or last code were cut, at most %s%s",
            self.codec.name,
            levels,
            advice,
        )
