"""Why a file cannot be read as weights: what it is, and what makes tensors of it. Nothing is executed."""

from __future__ import annotations

import io
import json
import pickletools
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...cache.wording import listed
from .weights_option import SUFFIXES

# The first bytes of what people take for weights, and what to do about it.
_BEGINNINGS: Mapping[bytes, str] = {
    b"version https://git-lfs": "it is a Git LFS pointer in place of the file; fetch it with `git lfs pull`",
    b"<!doctype html": "it is a web page; download the file itself ('raw' or 'resolve' in its address)",
    b"<html": "it is a web page; download the file itself ('raw' or 'resolve' in its address)",
    b"<?xml": "it is XML, such as a server's error; download the file again",
    b"\x1f\x8b": "it is compressed by gzip; unpack it with gunzip, or tar xzf",
    b"BZh": "it is compressed by bzip2; unpack it with bunzip2, or tar xjf",
    b"\xfd7zXZ": "it is compressed by xz; unpack it with unxz, or tar xJf",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd; unpack it with unzstd",
    b"7z\xbc\xaf": "it is a 7z archive; unpack it",
    b"Rar!": "it is a RAR archive; unpack it",
    b"\x89HDF": "it is HDF5, as Keras writes it, and not of PyTorch",
    b"\x93NUMPY": "it is an array of NumPy and not of PyTorch",
    b"GGUF": "it is GGUF and not of PyTorch",
    b"{": "it is JSON, such as a configuration, or the index of weights in several files",
}
_ENDINGS: Mapping[str, str] = {
    ".onnx": "it is an ONNX model and not tensors of PyTorch",
    ".pb": "it is of TensorFlow and not of PyTorch",
    ".index": "it is of TensorFlow and not of PyTorch",
    ".tflite": "it is of TensorFlow and not of PyTorch",
    ".engine": "it is of TensorRT and not of PyTorch",
    ".mlmodel": "it is of Core ML and not of PyTorch",
}
_TAR_AT, _TAR = 257, b"ustar"
# The part of a pickle that is looked through: the structure of a checkpoint, whose values lie elsewhere.
_PICKLE_BYTES = 4 * 2**20
# How a file begins that torch wrote before it wrote archives, and how many pickles precede the checkpoint.
_OLDER, _BEFORE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", 3
# Entries of a checkpoint that are tensors or a model, the likeliest first.
_ENTRIES = (
    "state_dict",
    "model_state_dict",
    "model",
    "ema",
    "net",
    "backbone",
    "teacher",
    "student",
)
# The modules of what a checkpoint of tensors alone consists of.
_OF_TENSORS = ("torch", "torch._utils", "torch._tensor", "torch.storage", "torch.serialization")
_HARMLESS = ("collections.OrderedDict", "_codecs.encode", "torch.nn.parameter.Parameter")


def problem_of(path: Path) -> str | None:
    """Return what a file is that was not read as weights, or None where nothing is known about it."""
    head = beginning(path)
    if not head:
        return "it is empty; copy or download it again"
    for begins, text in _BEGINNINGS.items():
        if head.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(begins.lower()):
            return text
    if head[_TAR_AT:].startswith(_TAR):
        return "it is a tar archive; unpack it with tar xf"
    if head.startswith(b"PK"):
        return _problem_of_zip(path)
    return _ENDINGS.get(path.suffix.lower()) or _problem_of_pickle(path)


def beginning(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(512)


def archive_problem(path: Path) -> str | None:
    """Return why a ZIP archive is none of torch's tensors, or None where it may be one.

    torch never compresses, so an archive that is larger inside than outside is a bomb.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        line = _python(
            f'torch.save(torch.jit.load({_text(path)}, map_location="cpu").state_dict(), {_saved(path)})'
        )
        return f"it is a TorchScript program; if you trust it, save its tensors alone: {line}"
    inside = sum(entry.file_size for entry in entries)
    if inside > path.stat().st_size:
        return f"compressed ({inside} bytes inside); not torch's"
    return None


def _problem_of_zip(path: Path) -> str | None:
    if not zipfile.is_zipfile(path):
        return "it ends too early; copy or download it again"
    if problem := archive_problem(path):
        return problem
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return _problem_of_pickle(path)
    if names and all(name.endswith(".npy") for name in names):
        return "it is an archive of NumPy and not of PyTorch"
    held = [name for name in names if name.endswith(SUFFIXES)] or names
    return f"it is a ZIP archive ({', '.join(held[:3]) or 'empty'}); unpack it"


class _Found(NamedTuple):
    """The contents of a pickle.

    objects: the classes and functions that it needs besides those of tensors. whole: whether it is an object
    as a whole. entry: the entry of it that has tensors or a model, "" for none. is_object: whether that
    entry is an object, such as a model.
    """

    objects: list[str]
    whole: bool
    entry: str
    is_object: bool


def _problem_of_pickle(path: Path) -> str | None:
    """Return which objects a file of torch has besides tensors, and how its tensors are saved alone."""
    found = _looked_through(_steps(_pickle_in(path)))
    if not found.objects:
        return None
    loaded = f'torch.load({_text(path)}, map_location="cpu", weights_only=False)'
    if found.entry:
        loaded += f"[{_text(found.entry)}]"
    if found.whole or found.is_object:
        loaded += ".state_dict()"
    elif not found.entry:
        loaded = f"{{k: v for k, v in {loaded}.items() if torch.is_tensor(v)}}"
    return (
        f"it has objects besides tensors ({listed(found.objects)}), which could "
        "run any program; if you trust it, save its tensors alone: "
        + _python(f"torch.save({loaded}, {_saved(path)})")
    )


def _looked_through(steps: Sequence[_Step]) -> _Found:
    objects = dict.fromkeys(s.text for s in steps if s.kind == "global" and not _is_of_tensors(s))
    # In older files this word precedes the class of a model.
    steps = [
        s for s, after in pairwise([*steps, _END]) if s != _MODULE or after.text not in objects
    ]
    whole = bool(steps) and steps[0].text in objects
    entries: dict[str, bool] = {}
    for step, value in pairwise(steps):
        if step.kind == "text" and value.kind in ("global", "dict"):
            entries.setdefault(step.text, value.text in objects)
    entry = "" if whole else next((e for e in _ENTRIES if e in entries), "")
    return _Found(list(objects), whole, entry, entries.get(entry, False))


class _Step(NamedTuple):
    """A step of a pickle that is of interest: kind is "text", "global", "dict" or "other"."""

    kind: str
    text: str = ""


_MODULE, _END = _Step("text", "module"), _Step("other")


def _steps(pickled: bytes) -> list[_Step]:
    """Return the steps of a pickle in order, as far as it can be read."""
    steps: list[_Step] = []
    memo: dict[int, _Step] = {}
    with suppress(Exception):  # A damaged pickle ends anywhere, in any way.
        for opcode, argument, _ in pickletools.genops(pickled):
            name = opcode.name
            if name.endswith("PUT") or name == "MEMOIZE":
                memo[len(memo) if argument is None else int(argument)] = steps[-1]
            elif name.endswith("GET"):
                steps.append(memo[int(argument or 0)])
            elif name == "GLOBAL":
                steps.append(_Step("global", str(argument).replace(" ", ".", 1)))
            elif name == "STACK_GLOBAL":
                module, attribute = steps[-2:]
                steps[-2:] = [_Step("global", f"{module.text}.{attribute.text}")]
            elif "UNICODE" in name:
                steps.append(_Step("text", str(argument)[:200]))
            elif name == "EMPTY_DICT":
                steps.append(_Step("dict"))
            elif name not in ("PROTO", "FRAME", "MARK"):
                steps.append(_Step("other"))
    return steps


def _pickle_in(path: Path) -> bytes:
    """Return the beginning of the pickle that holds a checkpoint's structure."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as entry:
                return entry.read(_PICKLE_BYTES)
    with path.open("rb") as file:
        pickled = file.read(_PICKLE_BYTES)
    if not pickled.startswith(_OLDER):
        return pickled
    stream = io.BytesIO(pickled)
    for _ in range(_BEFORE):
        _skip(stream)
    return stream.read()


def _skip(stream: BinaryIO) -> None:
    """Go behind the pickle that begins here, or to wherever it is damaged."""
    with suppress(Exception):
        for _ in pickletools.genops(stream):
            pass


def _is_of_tensors(step: _Step) -> bool:
    return step.text in _HARMLESS or step.text.rpartition(".")[0] in _OF_TENSORS


def _python(statement: str) -> str:
    return f"python -c {shlex.quote(f'import torch; {statement}')}"


def _text(value: object) -> str:
    return json.dumps(str(value))


def _saved(path: Path) -> str:
    return _text(path.with_name(f"{path.stem}-tensors.pth"))
