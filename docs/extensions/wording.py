"""Text of docstrings and help as Markdown."""

from __future__ import annotations

import inspect
import re

_SPECIAL = re.compile(r"([\\*_\[\]<>#|{}$])")


def escaped(text: str) -> str:
    """Return plain text as Markdown that shows it; what is between backticks stays code."""
    parts = text.split("`")
    return "`".join(_SPECIAL.sub(r"\\\1", p) if k % 2 == 0 else p for k, p in enumerate(parts))


def paragraphs(docstring: str | None) -> str:
    """Return a docstring as Markdown, each paragraph in one line."""
    text = inspect.cleandoc(docstring or "")
    return "\n\n".join(escaped(" ".join(part.split())) for part in text.split("\n\n"))


def directive(name: str, argument: str, body: str = "", *, level: int = 0, **options: str) -> str:
    """Return a directive of MyST. level: how many levels of directives its body has."""
    fence = ":" * (3 + level)
    lines = [f"{fence}{{{name}}} {argument}".rstrip()]
    lines += [f":{option}: {value}".rstrip() for option, value in options.items()]
    return "\n".join([*lines, "", body, fence]) if body else "\n".join([*lines, fence])
