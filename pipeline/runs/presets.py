"""Settings to start from, as TOML files beside this one: `--config NAME` takes them, people copy them."""

from __future__ import annotations

from pathlib import Path

from ...cache.errors import ConfigError, did_you_mean
from .settings import read_toml

_FOLDER = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """In alphabetical order; -s: for small machines."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def smaller_preset(neck: str, head: str, channels: int) -> str | None:
    """The small preset of a head, with that neck if there is one, and fewer channels; None for none."""
    found = []
    for name in preset_names():
        values = read_toml(_FOLDER / f"{name}.toml")
        fits = name.endswith("-s") and values["head"]["name"] == head
        if fits and values["neck"]["channels"] < channels:
            found.append((values["neck"]["name"] != neck, name))
    return min(found)[1] if found else None


def config_file(path: Path) -> Path:
    """A file as it is; a plain name that no file has as that of a preset. Raises ConfigError."""
    if path.exists() or path.suffix or path.name != str(path):
        return path
    names = preset_names()
    if path.name not in names:
        raise ConfigError(f"config {path}: no such file or preset{did_you_mean(path.name, names)}")
    return _FOLDER / f"{path.name}.toml"
