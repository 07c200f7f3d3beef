"""The option --config of the commands that train, whose help names the presets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..command import MODEL, opt
from .presets import large_presets, other_presets

ConfigFile = Annotated[
    Path | None,
    opt(
        f"TOML file of settings, or the name of a preset: {', '.join(large_presets())}, each also in a small "
        f"size, with -s after its name, and {', '.join(other_presets())} (`fdet presets` lists them)",
        group=MODEL,
    ),
]
