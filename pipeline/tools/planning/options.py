"""What `fdet plan` takes beside the options of an extraction; every default stands here."""

from __future__ import annotations

from dataclasses import dataclass

from ....cache.errors import InputError
from ...extraction.options import ExtractConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """extraction: what is planned. budget: bytes that the cache may have; None: what is free. epochs: of
    one training run on it. trial_images: at most so many pass through the backbone. write_trial: bytes
    to write on the target disk; None: for some seconds. nodes: machines like this one that extract beside
    each other.
    """

    extraction: ExtractConfig
    budget: int | None = None
    epochs: int = 72
    trial_images: int = 16
    write_trial: int | None = None
    nodes: int = 1

    def check(self) -> None:
        """Raises InputError."""
        for name in ("epochs", "trial_images", "nodes"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"--{name.replace('_', '-')}: expected at least 1, got {getattr(self, name)}"
                )
