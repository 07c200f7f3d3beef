"""The option --config of the commands that train, whose help names the presets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..command import MODEL, opt
from .presets import large_presets

ConfigFile = Annotated[
    Path | None,
    opt(
        f"TOML file of settings, or the name of a preset: {', '.join(large_presets())}; each also in a small "
        "size, with -s after its name (`fdet presets` lists them)",
        group=MODEL,
    ),
]
