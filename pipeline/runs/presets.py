"""The presets: TOML files next to this module, to be used by `--config NAME` or copied and changed."""

from __future__ import annotations

from pathlib import Path

from ...cache.errors import ConfigError, asked, did_you_mean, near_names
from .settings import read_toml

_FOLDER = Path(__file__).parent / "presets"
_OF_A_RUN = "config.toml"


def preset_names() -> list[str]:
    """Return the names of the presets in alphabetical order; those ending in -s are for small machines."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def large_presets() -> list[str]:
    """Return the names of the presets that have a small one of the same name and -s."""
    names = preset_names()
    return [name for name in names if f"{name}-s" in names]


def other_presets() -> list[str]:
    """Return the names of the presets that have no such pair."""
    large = large_presets()
    return [name for name in preset_names() if name.removesuffix("-s") not in large]


def smaller_preset(neck: str, head: str, channels: int) -> str | None:
    """Return the small preset with a head and fewer channels, with that neck if possible, or None."""
    found = []
    for name in preset_names():
        values = read_toml(_FOLDER / f"{name}.toml")
        fits = name.endswith("-s") and values["head"]["name"] == head
        if fits and values["neck"]["channels"] < channels:
            found.append((values["neck"]["name"] != neck, name))
    return min(found)[1] if found else None


def use_of(name: str) -> str:
    """Return what a preset is for: what its first line says after the names of its head and neck."""
    first = (_FOLDER / f"{name}.toml").read_text().partition("\n")[0]
    return first.partition(": ")[2]


def is_preset(path: Path) -> bool:
    """Return whether `config_file` gives the file of a preset for this path."""
    return config_file(path).parent == _FOLDER and str(path) in preset_names()


def config_file(path: Path) -> Path:
    """Return the path itself, or for a plain name that no file has the preset's. Raises ConfigError."""
    if path.exists() and not path.is_dir():
        return path
    names = preset_names()
    if str(path) in names:
        return _FOLDER / f"{path}.toml"
    if (path / _OF_A_RUN).is_file():
        raise ConfigError(f"config {path}: a folder; the settings of its run are in {_OF_A_RUN}")
    if path.is_dir():
        return path
    if path.suffix or path.name != str(path):
        nearby = {str(each) for each in path.parent.glob("*.toml")}
        near = near_names(str(path), nearby) or near_names(path.stem, names, cutoff=0.8)
        if near:
            raise ConfigError(f"config {path}: No such file or directory{asked(near)}")
        return path
    raise ConfigError(f"config {path}: no such file or preset{did_you_mean(path.name, names)}")
