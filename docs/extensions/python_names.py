"""The page of the Python interface: the names in `fdet.__all__`, and the types that these return."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from sphinx.util.inspect import stringify_signature

import fdet
from fdet.pipeline.runs.config import RunConfig

from .wording import directive, escaped, paragraphs


def python_pages() -> dict[str, str]:
    """Return the Markdown of the page by its name."""
    public = {name: getattr(fdet, name) for name in fdet.__all__}
    functions = {n: o for n, o in public.items() if inspect.isfunction(o)}
    classes = {n: o for n, o in public.items() if inspect.isclass(o)}
    returned = sorted(_returned(functions) - set(classes.values()), key=lambda c: c.__name__)
    parts = [
        "# Python",
        "`import fdet` is quick: each name is imported when it is first used. Errors are "
        "`fdet.FdetError` and name the parameters and fields that are wrong. These names "
        "change by [deprecation](../deprecation.md) alone; all others may change at any time.",
        "## Functions",
        *(_function(f"fdet.{name}", function) for name, function in functions.items()),
        "## Classes",
        *(_class(f"fdet.{name}", kind) for name, kind in classes.items()),
        "## What the functions return",
        *(_class(f"{kind.__module__}.{kind.__qualname__}", kind) for kind in returned),
    ]
    return {"python.md": "\n\n".join(parts) + "\n"}


def _returned(functions: dict[str, Any]) -> set[type]:
    """Return fdet's own classes in the annotations of what functions return."""
    found: set[type] = set()
    for function in functions.values():
        inner = inspect.unwrap(function)
        names = vars(sys.modules[inner.__module__])
        hint = eval(inner.__annotations__["return"], {**names, **_for_types(inner)})  # noqa: S307
        found |= {kind for kind in (hint, *get_args(hint)) if inspect.isclass(kind)}
    return {kind for kind in found if kind.__module__.startswith("fdet.")}


def _for_types(function: Any) -> dict[str, Any]:
    """Return what a module imports for its annotations alone, as far as functions return it."""
    if function.__annotations__["return"] != "Detector":
        return {}
    from fdet.heads.detector import Detector

    return {"Detector": Detector}


def _function(name: str, function: Any) -> str:
    signature = stringify_signature(_brief(inspect.signature(inspect.unwrap(function))))
    return directive("py:function", f"{name}{signature}", paragraphs(function.__doc__))


class _Dots:
    """Shown as three dots in a signature."""

    def __repr__(self) -> str:
        return "..."


def _brief(signature: inspect.Signature) -> inspect.Signature:
    """Return a signature in which options have ... for their defaults, which their class states."""
    brief = [
        p.replace(default=_Dots()) if is_dataclass(type(p.default)) else p
        for p in signature.parameters.values()
    ]
    return signature.replace(parameters=brief)


def _class(name: str, kind: type) -> str:
    members = list(_fields(kind) if is_dataclass(kind) else ()) + list(_members(kind))
    body = "\n\n".join([paragraphs(kind.__doc__), *members])
    return directive("py:class", name, body, level=1)


def _fields(kind: type) -> Iterator[str]:
    """Yield the fields of a dataclass, with the help that options state there."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError:  # Some types are imported for annotations alone.
        hints = {}
    for field in fields(kind):
        hint = hints.get(field.name, field.type)
        base, *extras = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
        helps = [
            extra if isinstance(extra, str) else getattr(extra, "help", None) for extra in extras
        ]
        text = next((help for help in helps if help), "")
        if kind is RunConfig:
            text = f"The section [{field.name}](settings/{field.name}.md)."
        else:
            text = escaped(text)
        default = {} if field.default is MISSING else {"value": _shown(field.default)}
        yield directive("py:attribute", field.name, text, type=_type_name(base), **default)


def _shown(value: object) -> str:
    return repr(getattr(value, "value", value))


def _type_name(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    if get_origin(kind) is None and inspect.isclass(kind):
        return kind.__name__
    return str(kind).replace("typing.", "").replace("collections.abc.", "")


def _members(kind: type) -> Iterator[str]:
    """Yield the public methods and properties that have a docstring."""
    for name, value in vars(kind).items():
        plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        called = name == "__call__"
        if (name.startswith("_") and not called) or not getattr(plain, "__doc__", None):
            continue
        text = paragraphs(plain.__doc__)
        if isinstance(plain, property):
            yield directive("py:property", name, text)
        elif inspect.isfunction(plain):
            signature = stringify_signature(_brief(inspect.signature(plain)))
            signature = (
                signature.replace("(self, ", "(").replace("(self)", "()").replace("(cls, ", "(")
            )
            kinds = {"classmethod": ""} if isinstance(value, classmethod) else {}
            yield directive("py:method", f"{name}{signature}", text, **kinds)
