"""The functions of the public interface as Python calls them: their errors name parameters, not options.

The messages are written for the command line. What stands in them between backticks is a command and stays.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from .cache.errors import FdetError

_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
# The parameter of a function that an option of another name stands for.
_NAMES = {"--set": "assignments", "--config": "path"}


def public(function: Callable[..., Any], options: type[Any] | None) -> Callable[..., Any]:
    """Return the function with errors that name parameters, and the fields of its options."""

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except FdetError as error:
            error.args = (without_flags(str(error), options),)
            raise

    # By this name it is found again where it is pickled.
    called.__module__, called.__qualname__ = __name__.rpartition(".")[0], function.__name__
    return called


def without_flags(text: str, options: type[Any] | None) -> str:
    """Return a message with the names of fields in place of flags: batch_size for --batch-size."""
    names = {**_NAMES, **(_fields_by_flag(options) if options else {})}

    def name_of(match: re.Match[str]) -> str:
        flag: str = match[0]
        return names.get(flag, flag[2:].replace("-", "_"))

    parts = text.split("`")
    return "`".join(_FLAG.sub(name_of, p) if k % 2 == 0 else p for k, p in enumerate(parts))


def _fields_by_flag(options: type[Any]) -> Mapping[str, str]:
    """Return the names of the fields whose flags are not just their names."""
    hints = get_type_hints(options, include_extras=True)
    return {
        flag: field.name
        for field in fields(options)
        for extra in get_args(hints[field.name])[1:]
        for declared in getattr(extra, "param_decls", None) or ()
        for flag in declared.split("/")
    }
