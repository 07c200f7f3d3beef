"""The options of the commands, each stated once: at a dataclass's field or a command's parameter."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo, ParameterInfo

from ..cache.disk.objects import located
from ..cache.errors import InputError, printable
from ..heads.ranges import range_of

Command = TypeVar("Command", bound=Callable[..., None])
Given = Mapping[str, Any]

# Where an option stands in the help of a command that has many.
DATA, MODEL, TRAINING, MACHINE = "Data", "Model", "Training", "Machine"
# What --masks says.
MASKS = "head.masks=true: Mask R-CNN of faster-rcnn, Cascade Mask R-CNN of cascade-rcnn"


class Checkpoint(StrEnum):
    """Which weights of a run."""

    best = "best"
    last = "last"


def opt(help: str, *flags: str, group: str | None = None, **more: Any) -> Any:
    """Return an option with that help; flags: instead of the one that follows from its name."""
    return typer.Option(*flags, help=help, rich_help_panel=group, **more)


def argument(help: str, **more: Any) -> Any:
    """Return a positional argument with that help."""
    return typer.Argument(help=help, **more)


def cache_argument(help: str) -> Any:
    """Return an argument that is a cache: a folder, or s3://bucket/prefix."""
    return typer.Argument(help=help, parser=located, metavar="CACHE")


def cache_opt(help: str, *flags: str, group: str | None = None) -> Any:
    """Return an option that is a cache: a folder, or s3://bucket/prefix."""
    return opt(help, *flags, group=group, parser=located, metavar="CACHE")


Device = Annotated[str, opt("auto, cpu, cuda, cuda:1", group=MACHINE)]
Threads = Annotated[int | None, opt("of torch on a CPU; default: torch's", group=MACHINE)]
Assignments = Annotated[
    Sequence[str], opt("section.name=value; `fdet settings` lists them", "--set", group=MODEL)
]
ConfigFile = Annotated[
    Path | None, opt("TOML file of settings, or the name of a preset", group=MODEL)
]


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text. Names of files may be anything: control characters are shown, not sent."""
    typer.echo(printable(text), err=err, nl=nl)


def flag_of(name: str) -> str:
    """Return how an option is written: --batch-size for batch_size."""
    return f"--{name.replace('_', '-')}"


def check_ranges(options: object) -> None:
    """Raise InputError for the first field that lies outside the range that stands at it."""
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        value, allowed = getattr(options, name), range_of(hint)
        if allowed is not None and value is not None and value not in allowed:
            raise InputError(f"{flag_of(name)}: expected {allowed}, got {value}")


def takes(command: Command) -> Command:
    """Replace each parameter that is a dataclass by one option for each field that says how it is shown.

    The command itself still gets the dataclass. Its fields may be dataclasses of options in turn, and
    Annotated[TrainOptions, ("cache", "out")] takes these fields only, the others by their defaults.
    """
    defaults = {n: p.default for n, p in inspect.signature(command).parameters.items()}
    shown, values = _expanded(get_type_hints(command, include_extras=True), defaults)

    @wraps(command)
    def run(**given: Any) -> None:
        command(**{name: value(given) for name, value in values.items()})

    # typer reads both of these; __wrapped__ would lead it to the command's own.
    del run.__wrapped__
    run.__annotations__ = {p.name: p.annotation for p in shown}
    run.__signature__ = inspect.Signature(shown, return_annotation=None)  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


def _expanded(
    hints: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[list[inspect.Parameter], dict[str, Callable[[Given], Any]]]:
    """Return the parameters that typer is to see, and how each value is made of what it gives."""
    shown: list[inspect.Parameter] = []
    values: dict[str, Callable[[Given], Any]] = {}
    for name, default in defaults.items():
        kind, names = _dataclass_of(hints[name])
        if kind is not None:
            inner = get_type_hints(kind, include_extras=True)
            theirs = {f.name: f.default for f in fields(kind) if not names or f.name in names}
            parameters, parts = _expanded(inner, theirs)
            shown += parameters
            values[name] = partial(_made, kind, parts)
        elif (info := _info_of(hints[name])) is not None:
            shown.append(_parameter(name, hints[name], info, default))
            values[name] = partial(_given, name, default)
    return shown, values


def _made(kind: type[Any], parts: Mapping[str, Callable[[Given], Any]], given: Given) -> Any:
    return kind(**{name: value(given) for name, value in parts.items()})


def _given(name: str, default: Any, given: Given) -> Any:
    value = given[name]
    return default if (value is None or value == []) and _has(default) else value


def _has(default: Any) -> bool:
    return default is not MISSING and default is not inspect.Parameter.empty


def _dataclass_of(hint: Any) -> tuple[type[Any] | None, tuple[str, ...]]:
    """Return a dataclass that a type is, and which of its fields to take; () for all."""
    base, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    names = next((extra for extra in extras if isinstance(extra, tuple)), ())
    return (base, names) if is_dataclass(base) and isinstance(base, type) else (None, ())


def _info_of(hint: Any) -> ParameterInfo | None:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, ParameterInfo)), None)


def _parameter(name: str, hint: Any, info: ParameterInfo, default: Any) -> inspect.Parameter:
    """Return a parameter as typer takes it: of a type that it knows, with a default that it can show."""
    info, base = copy.copy(info), _plain_type(get_args(hint)[0])
    if isinstance(info, OptionInfo) and base is bool and not info.param_decls:
        info.param_decls = (flag_of(name),)
    simple = default is None or (isinstance(default, str | int | float) and info.parser is None)
    if _has(default) and not simple and info.show_default is True:
        info.show_default = str(default) if default and isinstance(default, str) else False
    seen = default if simple else None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=seen if _has(default) else inspect.Parameter.empty,
        annotation=Annotated[base, info],
    )


def _plain_type(kind: Any) -> Any:
    """Return list[T] for a Sequence[T], an option that may be repeated, also where it is one of several
    types; and str for a tuple, whose parser takes one word for all of it.
    """
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for choice in choices:
        if get_origin(choice) is tuple:
            return str
        if get_origin(choice) is Sequence:
            return list[get_args(choice)[0]]  # type: ignore[misc]
    return kind
