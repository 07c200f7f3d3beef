"""The options of a fit that may still change, and those that a step has fixed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ....cache.errors import InputError
from ...command import flag_of
from .folder import RUN, Begun
from .paths import same_place
from .state import State


class _Fixed(Enum):
    """The time from which on an option is fixed."""

    never = "never"
    extraction = "once anything is extracted"
    training = "once training has begun"
    unfinished = "while an extraction or a training is unfinished"


# All other options are fixed by the extraction.
_FIXED = {
    **dict.fromkeys(("out", "ignore_errors"), _Fixed.never),
    **dict.fromkeys(
        ("config", "config_file", "assignments", "memory_limit", "time"), _Fixed.training
    ),
    **dict.fromkeys(("device", "threads"), _Fixed.unfinished),
}
_FLAGS = {
    "data": "DATA",
    "assignments": "--set",
    "config_file": "the file of --config",
    "weights_file": "the file of --weights",
}
# Units in which sizes are written where they are whole.
_UNITS = {"GiB": 2**30, "GB": 10**9, "MiB": 2**20, "MB": 10**6, "KiB": 2**10, "kB": 10**3}


# What a fit of an older fdet does not state.
_UNKNOWN = ("config_file", "weights_file")


def changed_options(state: State, now: Mapping[str, Any]) -> list[str]:
    """Return the names of the options that differ from those of the last command, as far as they matter.

    now: the options of this command, as `FitOptions.to_json` returns them.
    """
    return [
        name
        for name, value in now.items()
        if _fixed(name) is not _Fixed.never
        and state.options.get(name) != value
        and not same_place(state.options.get(name), value, state.folder)
        and not (name in _UNKNOWN and name not in state.options)
    ]


def refuse_fixed(state: State, now: Mapping[str, Any], begun: Begun) -> None:
    """Raise InputError, which names the option, where one differs that a step has fixed."""
    for name in changed_options(state, now):
        before, fixed = state.options.get(name), _fixed(name)
        unmeasured = name == "time" and before is None and begun.extraction
        if not unmeasured and not _is_fixed(fixed, begun):
            continue
        when = (
            f"{_Fixed.extraction.value}, as nothing was measured for it"
            if unmeasured
            else fixed.value
        )
        raise InputError(
            f"{_flag(name)}: it was {_written(name, before)} when {state.out} was begun, and is "
            f"{_written(name, now[name])} now, and it is fixed {when}; give the command that it was begun "
            f"with{'' if unmeasured else _way_out(fixed, state, begun)}, or choose another --out"
        )


def open_options(begun: Begun) -> str:
    """Return the flags of the options that may change, as a list in words; "" for none."""
    if not begun.extraction:
        return "all options"
    flags = [
        _flag(name)
        for name, fixed in _FIXED.items()
        if not (fixed is _Fixed.never or name in _UNKNOWN or _is_fixed(fixed, begun))
    ]
    return f"{', '.join(flags[:-1])} and {flags[-1]}" if len(flags) > 1 else "".join(flags)


def _fixed(name: str) -> _Fixed:
    return _FIXED.get(name, _Fixed.extraction)


def _is_fixed(fixed: _Fixed, begun: Begun) -> bool:
    return {
        _Fixed.never: False,
        _Fixed.extraction: begun.extraction,
        _Fixed.training: begun.training,
        _Fixed.unfinished: begun.unfinished is not None,
    }[fixed]


def _way_out(fixed: _Fixed, state: State, begun: Begun) -> str:
    """Return what can be deleted so that the option may change."""
    if fixed is _Fixed.training:
        return f", delete {state.out / RUN} to train anew"
    if fixed is _Fixed.unfinished:
        return f", delete {begun.unfinished}, which is then made anew"
    return ""


def _flag(name: str) -> str:
    return _FLAGS.get(name, flag_of(name))


def _written(name: str, value: Any) -> str:
    """Return the value of an option as it is given."""
    if value is None or value == []:
        return "not given"
    if name == "time" and isinstance(value, int | float):
        return written_seconds(value)
    if name == "disk" and isinstance(value, int):
        unit = next((u for u, size in _UNITS.items() if value and value % size == 0), "B")
        return f"{value // _UNITS.get(unit, 1)}{unit}"
    if name in _UNKNOWN:
        return f"another file (sha256 {str(value)[:12]})"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def written_seconds(seconds: float) -> str:
    """Return a time exactly, as `--time` takes it: 5m, 1h30m, 90.5s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = (f"{hours}h" * bool(hours), f"{minutes}m" * bool(minutes), f"{rest:g}s" * bool(rest))
    return "".join(parts) or "0s"
