"""The options of `fdet doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ...command import Device, opt


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """The options of `fdet doctor`: what it examines in addition to the installation."""

    folder: Annotated[Path, opt("folder on the disk where caches are to lie")] = Path()
    device: Device = "auto"
