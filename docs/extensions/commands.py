"""A page for each command, from the program itself: its commands, their parameters and their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo

from fdet.pipeline.cli import app
from fdet.pipeline.command import REPLACED

from .wording import directive, escaped, paragraphs

Parameter = inspect.Parameter
_KINDS = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}


def commands_of(program: typer.Typer, *above: str) -> Iterator[tuple[str, Callable[..., None]]]:
    """Yield the full name and the function of each command: "fdet cache info"."""
    for group in program.registered_groups:
        assert group.typer_instance is not None
        yield from commands_of(group.typer_instance, *above, str(group.name))
    for command in program.registered_commands:
        assert command.callback is not None
        yield " ".join([*above, str(command.name)]), command.callback


def command_pages() -> dict[str, str]:
    """Return the Markdown of each page by its name: commands/extract.md."""
    commands = dict(commands_of(app, "fdet"))
    pages = {f"commands/{_file(n)}.md": page_of(n, command) for n, command in commands.items()}
    rows = "\n".join(
        f"| [`{name}`]({_file(name)}.md) | {_first_paragraph(command)} |"
        for name, command in commands.items()
    )
    index = (
        "# Commands\n\nEvery command lists its options with `--help` or `-h`; `fdet --version` says "
        "which fdet it is. Exit 0: done. 2: bad input, in one line. 130: interrupted; what was "
        "finished is kept.\n\n"
        f"| command | what it does |\n|---|---|\n{rows}\n\n"
        "```{toctree}\n:hidden:\n\n" + "\n".join(map(_file, commands)) + "\n```\n"
    )
    return {**pages, "commands/index.md": index}


def _file(name: str) -> str:
    return name.removeprefix("fdet ").replace(" ", "-")


def _first_paragraph(command: Callable[..., None]) -> str:
    return paragraphs(command.__doc__).partition("\n\n")[0]


def page_of(name: str, command: Callable[..., None]) -> str:
    """Return the page of one command."""
    parameters = [
        p for p in inspect.signature(command).parameters.values() if get_args(p.annotation)
    ]
    arguments = [p for p in parameters if isinstance(_info(p), ArgumentInfo)]
    groups: dict[str, list[Parameter]] = {}
    for option in parameters:
        if option not in arguments:
            groups.setdefault(_info(option).rich_help_panel or "Options", []).append(option)
    usage = " ".join([name, *map(_usage, arguments), "[OPTIONS]"])
    parts = [f"# {name}", paragraphs(command.__doc__), f"```text\n{usage}\n```"]
    parts.append(directive("program", name))
    if arguments:
        parts += ["## Arguments", *(_described(p, _usage(p)) for p in arguments)]
    for title, options in groups.items():
        parts += [f"## {title}", *(_described(p, _signature(p)) for p in options)]
    return "\n\n".join(parts) + "\n"


def _info(parameter: Parameter) -> Any:
    return get_args(parameter.annotation)[1]


def _kind(parameter: Parameter) -> str:
    """Return what a value of a parameter is: a metavariable, or its choices."""
    kind = get_args(parameter.annotation)[0]
    inner = [k for k in get_args(kind) if k is not type(None)]
    if get_origin(kind) is not Literal and inner:
        (kind,) = inner
    if _info(parameter).metavar:
        return str(_info(parameter).metavar)
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return "|".join(member.value for member in kind)
    return _KINDS[kind]


def _usage(argument: Parameter) -> str:
    """Return how an argument stands in a usage line: CACHE, or [SECTION] where it may be left out."""
    name = _info(argument).metavar or argument.name.upper()
    return str(name) if argument.default is Parameter.empty else f"[{name}]"


def _signature(option: Parameter) -> str:
    """Return the flags of an option, with the kind of its value."""
    flags = _info(option).param_decls or (f"--{option.name.replace('_', '-')}",)
    flags = tuple(flag for flag in flags if flag not in REPLACED)
    if get_args(option.annotation)[0] is bool:
        return ", ".join(part for flag in flags for part in flag.split("/"))
    return ", ".join(f"{flag} {_kind(option)}" for flag in flags)


def _described(parameter: Parameter, signature: str) -> str:
    """Return the entry of an option or argument: its help, whether it is needed, and its default."""
    info, default = _info(parameter), parameter.default
    help = str(info.help)
    sentences = [escaped(help) + ("" if help.endswith(".") else ".")]
    is_option = not isinstance(info, ArgumentInfo)
    if is_option and get_origin(get_args(parameter.annotation)[0]) is list:
        sentences.append("May be repeated.")
    if is_option and default is Parameter.empty:
        sentences.append("Required.")
    if isinstance(default, str | int | float) and default != "" and info.show_default:
        if isinstance(default, bool):
            sentences += ["On by default."] if default else []
        else:
            sentences.append(f"Default: `{getattr(default, 'value', default)}`.")
    return directive("option", signature, " ".join(sentences))
