"""Options of commands, each declared once: at a dataclass's field or at a command's parameter."""

from __future__ import annotations

import copy
import inspect
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import partial, wraps
from operator import itemgetter
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperOption
from typer.models import CommandFunctionType, OptionInfo, ParameterInfo

from ..cache.disk.objects import located
from ..cache.errors import InputError, printable
from ..heads.family import Suppression
from ..heads.ranges import range_of

log = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., None])
Given = Mapping[str, Any]

# The groups of options in the help of a command that has many.
DATA, MODEL, TRAINING, MACHINE = "Data", "Model", "Training", "Machine"
# The help of --format.
FORMAT = "format of the annotations: coco, lvis, yolo, voc or csv; default: found by looking"
# The help of --masks.
MASKS = "set head.masks: Mask R-CNN from faster-rcnn, Cascade Mask R-CNN from cascade-rcnn"


# The former names of options: what replaced each, and the release that no longer knows it
# (docs/deprecation.md).
REPLACED: Mapping[str, tuple[str, str]] = {"--draw-above": ("--threshold", "0.4")}


class Checkpoint(StrEnum):
    """The weights of a run that a command uses."""

    best = "best"
    last = "last"


class LastCounts(TyperCommand):
    """A command that says so where an option is given twice, of which only the last one counts."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line; warnings name what is repeated or has another name now."""
        words = list(args)
        for flag in (word.partition("=")[0] for word in words):
            if flag in REPLACED:
                new, release = REPLACED[flag]
                log.warning("%s is deprecated: use %s; fdet %s drops it", flag, new, release)
        left = super().parse_args(ctx, args)
        opts, _, order = self.make_parser(ctx).parse_args(args=words)
        for parameter, times in Counter(order).items():
            if times > 1 and isinstance(parameter, TyperOption) and _is_single(parameter):
                flags = " or ".join(parameter.opts + parameter.secondary_opts)
                last = "" if parameter.is_flag else f": {opts[parameter.name]}"
                log.warning("%s: given %d times; only the last one counts%s", flags, times, last)
        _warn_of_repeated_settings(opts.get("assignments") or ())
        return left


def _warn_of_repeated_settings(assignments: Sequence[str]) -> None:
    """Warn where --set gives one setting several values."""
    values: dict[str, list[str]] = {}
    for name, _, value in (text.partition("=") for text in assignments):
        values.setdefault(name.strip(), []).append(value.strip())
    for name, given in values.items():
        if len(given) > 1:
            text = "--set %s: given %d times; only the last one counts: %s"
            log.warning(text, name, len(given), given[-1])


def _is_single(option: TyperOption) -> bool:
    """Return whether an option has one value; a flag that has no counterpart says the same twice."""
    return not option.multiple and (not option.is_flag or bool(option.secondary_opts))


class Program(typer.Typer):
    """Commands, each of which says so where an option with one value is given twice."""

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **more: Any
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        """Return a decorator that adds a command, as typer's own does."""
        return super().command(name, cls=cls or LastCounts, **more)


def opt(help: str, *flags: str, group: str | None = None, **more: Any) -> Any:
    """Return an option with that help. flags: its flags, instead of the one that its name gives."""
    info = typer.Option(help=help, rich_help_panel=group, **more)
    info.param_decls = flags or None  # given positionally, typer would take the first for a default
    return info


def argument(help: str, **more: Any) -> Any:
    """Return a positional argument with that help."""
    return typer.Argument(help=help, **more)


def cache_argument(help: str) -> Any:
    """Return a positional argument for a cache: a folder, or s3://bucket/prefix."""
    return typer.Argument(help=help, parser=located, metavar="CACHE")


def cache_opt(help: str, *flags: str, group: str | None = None) -> Any:
    """Return an option for a cache: a folder, or s3://bucket/prefix."""
    return opt(help, *flags, group=group, parser=located, metavar="CACHE")


Device = Annotated[str, opt("torch device: auto, cpu, cuda or cuda:1", group=MACHINE)]
Threads = Annotated[
    int | None, opt("number of torch threads on a CPU; default: torch's choice", group=MACHINE)
]
ThreadsOfJobs = Annotated[
    int | None,
    opt("torch threads on a CPU, of all jobs together; default: torch's choice", group=MACHINE),
]
Format = Annotated[str | None, opt(FORMAT)]
Split = Annotated[str | None, opt("split of --annotations")]
AnnotationsInstead = Annotated[Path | None, opt("annotation file to use instead of the cache's")]
BackboneWeights = Annotated[
    str | None, opt("weights file of the backbone, if extraction was given one")
]
SecondWeights = Annotated[
    str | None,
    opt("weights file of a second backbone, if extraction was given one", "--with-weights"),
]
UsedCheckpoint = Annotated[Checkpoint, opt("which weights of the run to use")]
OtherNms = Annotated[
    Suppression | None,
    opt(
        "compare boxes of one class (class) or all boxes (agnostic); default: the run's head.nms",
        parser=str,
        metavar="class|agnostic",
    ),
]
OtherClasses = Annotated[
    Path | None,
    opt("file with the vectors of other classes, for a run trained with --class-embeddings"),
]
Assignments = Annotated[
    Sequence[str],
    opt("a setting, section.name=value; `fdet settings` lists all", "--set", group=MODEL),
]


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text, and escape control characters in it, which names of files may contain."""
    # The file is named since click would write UTF-8 to a terminal that has nothing but ASCII.
    typer.echo(printable(text), file=sys.stderr if err else sys.stdout, nl=nl)


def given_names(context: typer.Context) -> frozenset[str]:
    """Return the names of the parameters that the command line gives, also where it gives the default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(n for n, source in sources.items() if source and source.name == "COMMANDLINE")


def flag_of(name: str) -> str:
    """Return the flag of an option: --batch-size for batch_size."""
    return f"--{name.replace('_', '-')}"


def check_ranges(options: object) -> None:
    """Raise InputError for the first field whose value is outside the range in its annotation."""
    for name, hint in get_type_hints(type(options), include_extras=True).items():
        value, allowed = getattr(options, name), range_of(hint)
        if allowed is not None and value is not None and value not in allowed:
            raise InputError(f"{flag_of(name)}: expected {allowed}, got {value}")


def check_file(option: str, path: Path | str | None) -> None:
    """Raise InputError where the file that an option names is not there. None: no file is named."""
    mode = None if path is None else _mode(path)
    if mode is not None and not S_ISREG(mode):
        what = "it is a folder; expected a file" if S_ISDIR(mode) else "no such file"
        raise InputError(f"{option} {path}: {what}")


def check_folder(option: str, path: Path | str | None) -> None:
    """Raise InputError where the folder that an option names is not there. None: no folder is named."""
    mode = None if path is None else _mode(path)
    if mode is not None and not S_ISDIR(mode):
        what = "it is a file; expected a folder" if S_ISREG(mode) else "no such folder"
        raise InputError(f"{option} {path}: {what}")


def check_path(path: Path) -> None:
    """Raise InputError where there is neither a file nor a folder at a path."""
    if not _mode(path):
        raise InputError(f"{path}: no such file or folder")


def _mode(path: Path | str) -> int:
    """Return the mode of what is at a path, 0 where nothing is. Raises PermissionError."""
    try:
        return Path(path).stat().st_mode
    except PermissionError:
        raise
    except (OSError, ValueError):  # There is nothing, or the name is too long or not one.
        return 0


def takes(command: Command) -> Command:
    """Replace each parameter that is a dataclass by an option for each of its fields that declares one.

    The command itself still gets the dataclass. Its fields may be dataclasses of options in turn. Of
    Annotated[TrainOptions, ("cache", "out")] only these fields become options, and the others keep their
    defaults. A parameter of the type typer.Context gets that of the call.
    """
    defaults = {n: p.default for n, p in inspect.signature(command).parameters.items()}
    shown, values = _expanded(get_type_hints(command, include_extras=True), defaults)

    @wraps(command)
    def run(**given: Any) -> None:
        command(**{name: value(given) for name, value in values.items()})

    # typer reads all of these; __wrapped__ would lead it to the command's own.
    del run.__wrapped__
    run.__doc__ = unwrapped(command.__doc__ or "")
    run.__annotations__ = {p.name: p.annotation for p in shown}
    run.__signature__ = inspect.Signature(shown, return_annotation=None)  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


def unwrapped(text: str) -> str:
    """Return the paragraphs of a docstring, each in one line: typer keeps line breaks within them."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _expanded(
    hints: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[list[inspect.Parameter], dict[str, Callable[[Given], Any]]]:
    """Return the parameters for typer, and the functions that make the command's values from typer's."""
    shown: list[inspect.Parameter] = []
    values: dict[str, Callable[[Given], Any]] = {}
    for name, default in defaults.items():
        kind, names = _dataclass_of(hints[name])
        if hints[name] is typer.Context:
            keyword = inspect.Parameter.KEYWORD_ONLY
            shown.append(inspect.Parameter(name, keyword, annotation=typer.Context))
            values[name] = itemgetter(name)
        elif kind is not None:
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
    """Return the type if it is a dataclass, else None, and the names of the fields to take; () for all."""
    base, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    names = next((extra for extra in extras if isinstance(extra, tuple)), ())
    return (base, names) if is_dataclass(base) and isinstance(base, type) else (None, ())


def _info_of(hint: Any) -> ParameterInfo | None:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, ParameterInfo)), None)


def _parameter(name: str, hint: Any, info: ParameterInfo, default: Any) -> inspect.Parameter:
    """Return a parameter for typer, of a type that it supports and with a default that it can display."""
    info, base = copy.copy(info), _plain_type(get_args(hint)[0])
    if isinstance(info, OptionInfo) and base is bool and not info.param_decls:
        info.param_decls = (flag_of(name),)
    simple = default is None or (isinstance(default, str | int | float) and info.parser is None)
    if _has(default) and not simple and info.show_default is True:
        info.show_default = False  # typer would put it into parentheses
        if default and isinstance(default, str):
            info.help = f"{info.help}; default: {default}"
    seen = default if simple else None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=seen if _has(default) else inspect.Parameter.empty,
        annotation=Annotated[base, info],
    )


def _plain_type(kind: Any) -> Any:
    """Return the type for typer: list[T] for Sequence[T], str for a tuple or several types, else itself.

    A Sequence[T], also as one of several types, is an option that may be repeated. The parser of a tuple, or
    of a value of several types, takes one word for it.
    """
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for choice in choices:
        if get_origin(choice) is tuple:
            return str
        if get_origin(choice) is Sequence:
            return list[get_args(choice)[0]]  # type: ignore[misc]
    return str if len([choice for choice in choices if choice is not NoneType]) > 1 else kind
