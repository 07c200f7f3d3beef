"""What a training run tells its hooks: every line of metrics.jsonl, and what an evaluation found.

A hook is a plain function of an event. What it raises ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...heads.types import Detections


@dataclass(frozen=True, slots=True)
class Event:
    """line: what metrics.jsonl gets. detections: of an evaluation, by image id, in image px."""

    line: Mapping[str, Any]
    detections: Mapping[int, Detections] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """ "train" or "eval"."""
        kind: str = self.line["kind"]
        return kind

    @property
    def step(self) -> int:
        """How many steps were done."""
        step: int = self.line["step"]
        return step


Hook = Callable[[Event], None]
