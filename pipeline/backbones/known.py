"""The backbones of the installed libraries, found in their source, as to import them takes seconds."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path

from ...cache.errors import InputError, asked
from .names import near_backbones
from .weights_option import check_file

TORCHVISION = "torchvision/"
# What stands for weights drawn at random in place of a file.
RANDOM = "random"

# @register_model above a function, and the names that timm has for models of older versions. Each pattern
# begins with letters, not with a mere ^, by which some 4 MB are searched ten times as fast.
_MODEL = re.compile(r"\n@register_model.*\n(?:@.*\n)*def (\w+)\(")
_OLDER = re.compile(r"\nregister_model_deprecations\(__name__, \{(.*?)\}\)", re.DOTALL)


def check_backbone(name: str) -> None:
    """Raise InputError for a backbone that its library does not have.

    Nothing is checked where the library is imported already: it may have been given more models.
    """
    of_timm = not name.startswith(TORCHVISION)
    if ("timm" if of_timm else "torchvision") in sys.modules:
        return
    known, older = timm_models() if of_timm else (torchvision_names(), [])
    # timm's names may have a tag, as in resnet18.a1_in1k.
    bare = name.partition(".")[0] if of_timm else name
    if known and bare not in known and bare not in older:
        raise InputError(unknown_backbone(name, known))


def unknown_backbone(name: str, known: Collection[str], tagged: Collection[str] = ()) -> str:
    """Return the message for a backbone that does not exist, with the names that may be meant.

    known: the names of all models. tagged: the names of models with weights, as resnet18.a1_in1k.
    """
    near = asked(near_backbones(name, known, tagged) or near_backbones(name, timm_names()))
    return f"unknown backbone {name!r}{near} (timm's names, or {TORCHVISION}resnet50)"


def check_weights(option: str, weights: str | None) -> None:
    """Raise InputError where the file of weights that an option names is not there."""
    if weights is not None and weights != RANDOM:
        check_file(weights, option)


def timm_names() -> list[str]:
    """Return the names of timm's models, [] where its source cannot be read."""
    return timm_models()[0]


def timm_models() -> tuple[list[str], list[str]]:
    """Return the names of timm's models, and those of older versions, which it still accepts.

    Both are [] where its source cannot be read.
    """
    texts = list(_sources("timm", "models/*.py"))
    tables = (table for text in texts for table in _OLDER.findall(text))
    older = [name for table in tables for name in re.findall(r"'([^']+)'\s*:", table)]
    return [name for text in texts for name in _MODEL.findall(text)], older


def torchvision_names() -> list[str]:
    """Return the names of torchvision's ResNets, [] where their source cannot be read."""
    sources = _sources("torchvision", "models/resnet.py")
    return [TORCHVISION + name for text in sources for name in _MODEL.findall(text)]


def _sources(library: str, pattern: str) -> Iterator[str]:
    spec = find_spec(library)
    if spec is not None and spec.origin is not None:
        for path in sorted(Path(spec.origin).parent.glob(pattern)):
            yield path.read_text(errors="replace")
