"""The count of numbers that a codec may have clipped, taken while a cache is written and then logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from .codec import Codec

log = logging.getLogger(__name__)

# As a share of a level's numbers. Where fewer than one in 10,000 may be clipped, no warning is needed.
WORTH_A_WARNING = 1e-4


class ClippingCounts:
    """The numbers with the first or last code in the samples that were added.

    There are none for a codec that keeps a floating-point type.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.found = torch.zeros(len(codec.levels), dtype=torch.int64)
        self.numbers = torch.zeros(len(codec.levels), dtype=torch.int64)

    def add(
        self, stored: Sequence[Tensor], canvas_hw: tuple[int, int], kept: Sequence[bool]
    ) -> None:
        """Add samples, (B, *stored shape) a level. kept: which of the B samples count."""
        if not self.codec.form.clips:
            return
        chosen = torch.tensor(kept)
        self.found += self.codec.count_clipped(stored, canvas_hw).cpu()[:, chosen].sum(1)
        for k, level in enumerate(self.codec.spec.levels):
            channels, rows, columns = level.shape(canvas_hw)
            here = self.codec.form.stored_channels(channels) * rows * columns
            self.numbers[k] += here * int(chosen.sum())

    @property
    def shares(self) -> dict[str, float]:
        """The share of such numbers by level, above 0 and at most 1; levels without any are left out."""
        names = self.codec.spec.names
        counts = zip(names, self.found.tolist(), self.numbers.tolist(), strict=True)
        return {name: found / numbers for name, found, numbers in counts if found}

    def tell(self) -> None:
        """Log one line with the shares, as a warning where they are large."""
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
