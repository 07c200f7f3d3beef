"""Weights made to do harm; nothing of them is ever executed."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from safetensors.torch import save

from fdet.cache.errors import InputError
from fdet.pipeline.backbones.known import RANDOM
from fdet.pipeline.backbones.loading import load_backbone
from fdet.pipeline.backbones.weights_file import read_tensors

from .case import Case, Thunk, outside_of

BACKBONE = "test_resnet"
# What load_backbone would import, while imports are watched.
LIBRARIES = (timm, torchvision)


def attempts(folder: Path) -> Iterator[tuple[str, Thunk]]:
    """Read the tensors; load them into a backbone."""
    for path in sorted(folder.glob("w*")):
        yield f"read {path.name}", partial(read_tensors, path)
        yield f"load {path.name}", partial(_loaded, path)


def _loaded(path: Path) -> None:
    """Whatever it is that was loaded, the backbone must work."""
    backbone = load_backbone(BACKBONE, weights=str(path))
    backbone(torch.zeros((1, 64, 64, 3), dtype=torch.uint8), [(64, 64)])


@cache
def good() -> dict[str, torch.Tensor]:
    net: Any = load_backbone(BACKBONE, weights=RANDOM)._net
    return {name: tensor.clone() for name, tensor in net.model.state_dict().items()}


def stem() -> str:
    """A tensor that the backbone cannot do without."""
    return next(name for name, tensor in good().items() if tensor.ndim == 4)


Make = Callable[[Path], bytes]


def weights(name: str, suffix: str, *makes: bytes | Make, refused: bool = True) -> Case:
    """Each makes a file's bytes; it is given the folder outside."""

    def prepare(folder: Path) -> None:
        for k, make in enumerate(makes):
            data = make if isinstance(make, bytes) else make(outside_of(folder))
            (folder / f"w{k}.{suffix}").write_bytes(data)

    return Case(f"weights: {name}", prepare, attempts, (InputError,), refused, named=False)


def special(name: str, make: Callable[[Path], object]) -> Case:
    def prepare(folder: Path) -> None:
        for suffix in ("pth", "safetensors"):
            make(folder / f"w.{suffix}")

    return Case(f"weights: {name}", prepare, attempts, (InputError,), named=False)


class _Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def pickled(make: Callable[[Path], object]) -> list[Make]:
    """As a plain pickle, as torch saves today, and as it once did."""

    def plain(outside: Path) -> bytes:
        return pickle.dumps(make(outside))

    def saved(outside: Path, zipped: bool) -> bytes:
        buffer = io.BytesIO()
        torch.save(make(outside), buffer, _use_new_zipfile_serialization=zipped)
        return buffer.getvalue()

    return [plain, partial(saved, zipped=True), partial(saved, zipped=False)]


def _calls(function: Callable[..., object], *arguments: object) -> list[Make]:
    """The tensors that are wanted, and a call beside them; arguments may name the folder outside."""

    def content(outside: Path) -> dict[str, object]:
        given = (a.format(outside) if isinstance(a, str) else a for a in arguments)
        return {**good(), "more": _Call(function, *given)}

    return pickled(content)


def saved(content: Callable[[], object]) -> Make:
    def make(outside: Path) -> bytes:
        buffer = io.BytesIO()
        torch.save(content(), buffer)
        return buffer.getvalue()

    return make


def with_stem(change: Callable[[torch.Tensor], object]) -> Make:
    """The tensors that are wanted, one of them strange."""
    return saved(lambda: {**good(), stem(): change(good()[stem()])})


def zipped(pickle_bytes: bytes, storage: bytes = b"", *, grow: int = 0) -> bytes:
    """torch's archive by hand; grow: so many zeros behind the pickle, compressed away."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("a/data.pkl", "w") as entry:
            entry.write(pickle_bytes)
            for _ in range(grow // 2**20):
                entry.write(bytes(2**20))
        file.writestr("a/byteorder", "little")
        file.writestr("a/data/0", storage)
        file.writestr("a/version", "3\n")
    return buffer.getvalue()


def entries_that_leave(outside: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("../../outside/executed", "x")
        file.writestr(f"{outside}/executed", "x")
        file.writestr("../outside/data.pkl", pickle.dumps({}))
        file.writestr("../outside/version", "3\n")
    return buffer.getvalue()


def tar_with_links(outside: Path) -> bytes:
    """torch's oldest format, its parts links to a file outside."""
    (outside / "secret").write_bytes(pickle.dumps(1))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("storages", "tensors", "pickle", "../../executed"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, str(outside / "secret")
            file.addfile(entry)
    return buffer.getvalue()


def safetensors(header: object, data: bytes = bytes(64), *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def safe_stem(change: Callable[[torch.Tensor], torch.Tensor]) -> Make:
    return lambda _: save({**good(), stem(): change(good()[stem()])})


def _huge_tensor(outside: Path) -> bytes:
    """Four bytes, of which a stride of nothing makes a terabyte."""
    return saved(lambda: {**good(), stem(): torch.zeros(1).expand(2**38)})(outside)


def _sparse_file(size: int, beginning: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(beginning)
        os.truncate(path, size)

    return make


LONG = "x" * 2**20

CASES = [
    weights("a pickle that opens a file", "pth", *_calls(open, "{}/executed", "w")),
    weights("a pickle that runs a program", "pth", *_calls(os.system, "touch {}/executed")),
    weights("a pickle that evaluates", "pth", *_calls(eval, "open('{}/executed', 'w')")),
    weights("a pickle that imports", "pth", *_calls(__import__, "antigravity")),
    weights("a pickle that loads a pickle", "pth", *_calls(torch.load, "{}/more.pth")),
    weights(
        "a pickle that fetches",
        "pth",
        *_calls(torch.hub.load_state_dict_from_url, "http://127.0.0.1/a"),
    ),
    weights("a pickle of a module", "pth", *pickled(lambda _: torch.nn.Linear(2, 2))),
    weights("a pickle named .safetensors", "safetensors", *_calls(open, "{}/executed", "w")),
    weights(
        "a pickle nested deep",
        "pth",
        b"\x80\x02" + b"(" * 10**5,
        b"\x80\x02" + b"]" * 10**5 + b"a" * 10**5 + b".",
        zipped(b"\x80\x02" + b"(" * 10**5),
    ),
    weights(
        "a pickle of huge sizes",
        "pth",
        *(
            b"\x80\x04" + code + b"\xff" * 7 + b"\x7f"
            for code in (b"\x8d", b"\x8e", b"\x96", b"\x95")
        ),
        b"\x80\x02\x8b\xff\xff\xff\x7f",
        b"\x80\x02r\xff\xff\xff\x7f",
        zipped(b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f"),
    ),
    weights(
        "a pickle that doubles itself", "pth", b"\x80\x02(lq\0" + b"h\0h\0\x86q\0" * 1000 + b"."
    ),
    weights(
        "a pickle of a list in itself", "pth", *pickled(lambda _: (lambda x: x.append(x) or x)([]))
    ),
    weights(
        "an archive whose pickle grows to 1 GiB", "pth", lambda _: zipped(b"\x80\x02}.", grow=2**30)
    ),
    weights("an archive with names that leave", "pth", entries_that_leave),
    weights("a tar with links that leave", "pth", tar_with_links),
    weights("an archive without a pickle", "pth", b"PK\x05\x06" + bytes(18), zipped(b"")),
    weights("a tensor of a terabyte in four bytes", "pth", _huge_tensor),
    weights(
        "tensors of other kinds: sparse",
        "pth",
        with_stem(torch.Tensor.to_sparse),
        with_stem(lambda x: torch.zeros(4, 4).to_sparse_csr()),
    ),
    weights("tensors of other kinds: meta", "pth", with_stem(lambda x: x.to("meta"))),
    weights("tensors of other kinds: complex", "pth", with_stem(lambda x: x.to(torch.complex64))),
    weights(
        "tensors of other kinds: quantised",
        "pth",
        with_stem(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)),
    ),
    weights(
        "tensors of other kinds: nested",
        "pth",
        with_stem(lambda x: torch.nested.nested_tensor([x[0], x[0]])),
    ),
    weights(
        "tensors of other types",
        "pth",
        *(
            with_stem(lambda x, t=t: x.to(t))
            for t in (torch.float64, torch.int8, torch.bool, torch.float16)
        ),
        refused=False,
    ),
    weights("tensors of NaN", "pth", with_stem(lambda x: x * float("nan")), refused=False),
    weights(
        "tensors of other shapes",
        "pth",
        *(
            with_stem(change)
            for change in (
                lambda x: x[:0],
                lambda x: x[None],
                lambda x: torch.zeros(()),
                lambda x: x.expand(2, *x.shape),
            )
        ),
    ),
    weights(
        "no tensors",
        "pth",
        *(
            saved(lambda v=v: v)
            for v in (
                None,
                5,
                "x",
                [1],
                {},
                {"a": 1},
                {"a": None},
                {"state_dict": {}},
                {"state_dict": 5},
                {"model": {"state_dict": {}}},
            )
        ),
    ),
    weights(
        "names that are none",
        "pth",
        saved(lambda: {1: torch.zeros(1), None: torch.zeros(1), ("a",): torch.zeros(1)}),
        saved(lambda: {LONG: torch.zeros(1)}),
    ),
    weights(
        "a cut .pth", "pth", *(lambda _, k=k: saved(good)(Path())[: 2**k] for k in range(2, 12))
    ),
    weights(
        "no .pth",
        "pth",
        b"",
        b"hello",
        b"PK\x03\x04" * 100,
        b"\x80\x02.",
        b"\x80\x02}.",
        b"\x1f\x8b" + bytes(99),
        bytes(1000),
    ),
    weights(
        "a header longer than the file",
        "safetensors",
        safetensors({}, length=2**40),
        safetensors({}, length=2**63),
        safetensors({}, length=2**64 - 1),
        safetensors({}, length=10**8),
    ),
    weights(
        "a header of no length",
        "safetensors",
        safetensors(b"", length=0),
        b"",
        bytes(7),
        bytes(8),
        bytes(1000),
    ),
    weights(
        "a header that is no JSON",
        "safetensors",
        *(
            safetensors(v)
            for v in (
                b"{",
                b"[]",
                b"null",
                b"\xff",
                b"5",
                b'"a"',
                b"{}{}",
                b"[" * 100_000,
                b'{"a":' * 100_000,
            )
        ),
    ),
    weights(
        "offsets beyond the file",
        "safetensors",
        *(
            safetensors({"a": tensor([16], v)})
            for v in ([0, 2**40], [2**40, 2**40 + 64], [-64, 0], [64, 0], [0, 2**64], [0.5, 64], [])
        ),
    ),
    weights(
        "offsets that overlap",
        "safetensors",
        safetensors({"a": tensor([16], [0, 64]), "b": tensor([16], [0, 64])}),
        safetensors({"a": tensor([12], [0, 48]), "b": tensor([12], [16, 64])}),
    ),
    weights(
        "offsets with a hole",
        "safetensors",
        safetensors({"a": tensor([4], [0, 16]), "b": tensor([4], [48, 64])}),
        safetensors({"a": tensor([4], [16, 32])}),
    ),
    weights(
        "shapes that do not fit",
        "safetensors",
        *(
            safetensors({"a": tensor(v, [0, 64])})
            for v in (
                [17],
                [2**40, 2**40],
                [2**32, 2**32],
                [-16],
                [0],
                [16, 0],
                [2**63, 2],
                ["16"],
                [1.5],
                None,
            )
        ),
    ),
    weights(
        "types that nobody knows",
        "safetensors",
        *(
            safetensors({"a": tensor([16], [0, 64], v)})
            for v in ("F33", "", "object", "O", LONG, "C64")
        ),
    ),
    weights(
        "metadata",
        "safetensors",
        *(
            safetensors({"__metadata__": v, "a": tensor([16], [0, 64])})
            for v in ("x", 5, {"a": 5}, {"a": {"b": 1}}, [], {"a": LONG})
        ),
        safetensors({"__metadata__": {}}),
    ),
    weights(
        "the same name twice",
        "safetensors",
        safetensors(
            b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'
        ),
    ),
    weights(
        "names that tell the terminal what to do",
        "safetensors",
        safetensors({"\x1b[2J": tensor([16], [0, 64])}),
        safetensors({LONG: tensor([16], [0, 64])}),
    ),
    weights(
        "ten thousand tensors",
        "safetensors",
        lambda _: safetensors({f"{k}": tensor([0], [0, 0]) for k in range(10_000)}, b""),
    ),
    weights(
        "one tensor of another shape",
        "safetensors",
        safe_stem(lambda x: torch.zeros(4)),
        safe_stem(lambda x: torch.zeros(0)),
        safe_stem(lambda x: x.flatten()),
    ),
    weights(
        "one tensor of another type",
        "safetensors",
        *(
            safe_stem(lambda x, t=t: x.to(t))
            for t in (torch.int64, torch.bool, torch.float8_e4m3fn)
        ),
        refused=False,
    ),
    special("a FIFO", os.mkfifo),
    special("a link to /dev/zero", lambda path: path.symlink_to("/dev/zero")),
    special("a link to itself", lambda path: path.symlink_to(path.name)),
    special("a folder", lambda path: path.mkdir()),
    special("a terabyte of nothing", _sparse_file(2**40, b"")),
    special(
        "a terabyte behind a header", _sparse_file(2**40, safetensors({"a": tensor([16], [0, 64])}))
    ),
]
