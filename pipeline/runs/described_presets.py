"""The presets in a table: neck, head, channels, trained parameters, and what each is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cache.pyramid import LevelSpec, PyramidSpec
from .config import load_config
from .presets import preset_names, use_of

# What the parameters are counted for: the levels of the default backbone, and the classes of COCO.
LEVELS = PyramidSpec(
    tuple(
        LevelSpec(f"c{k}", 2**k, channels) for k, channels in ((2, 24), (3, 40), (4, 112), (5, 320))
    )
)
CLASSES = 80
COUNTED = (
    f"parameters: of neck and head, on the levels of tf_efficientnet_lite0, with {CLASSES} classes; `fdet "
    "model PRESET --cache CACHE` counts them for a cache"
)


@dataclass(frozen=True, slots=True)
class DescribedPreset:
    """A preset. channels: those of the neck's levels. parameters: the number that is trained."""

    name: str
    neck: str
    head: str
    channels: int
    parameters: int
    use: str


def described_presets() -> list[DescribedPreset]:
    """Return all presets in alphabetical order; the detectors are built without memory for their weights."""
    import torch

    from .model import fresh_detector

    found = []
    for name in preset_names():
        config = load_config(Path(name))
        with torch.device("meta"):
            count = fresh_detector(config, LEVELS, CLASSES).trained_parameters
        neck, head = config.neck, config.head
        found.append(
            DescribedPreset(name, neck.name, head.name, neck.channels, count, use_of(name))
        )
    return found


def presets_as_markdown(presets: Sequence[DescribedPreset]) -> str:
    """Return the presets as a table in Markdown."""
    lines = [
        "| preset | neck | head | channels | parameters | |",
        "|---|---|---|---|---|---|",
    ]
    for p in presets:
        cells = (f"`{p.name}`", p.neck, p.head, str(p.channels), millions(p.parameters), p.use)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def millions(count: int) -> str:
    """Return a number of parameters as it is displayed: `1.13 M`."""
    return f"{count / 1e6:.2f} M"
