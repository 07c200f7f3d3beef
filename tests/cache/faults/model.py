"""A disk that keeps what was fsynced and forgets any part of the rest when the power fails.

It follows a trace call by call. A file's bytes since its last fsync may be there, partly there,
zeros, or absent; a name given or taken since the last fsync of its folder may be there or not; and a
folder whose own name is lost loses everything in it. A failed fsync of a file is never made good.
"""

import itertools
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path, PurePosixPath

from .tracer import OPENING, READING, Call

Tree = dict[str, bytes | None]
"""What lies below a folder, by path: the bytes of a file, None for a folder."""

_MOST_PRODUCTS = 64
_SAMPLED = 32


@dataclass(eq=False, slots=True)
class File:
    """data: as a running process reads it. synced: as of the last fsync. failed: an fsync failed."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    failed: bool = False

    @property
    def contents(self) -> list[bytes]:
        """What may be found after a power cut, the durable bytes first."""
        now, half = bytes(self.data), len(self.data) // 2
        partly = [now[:half], bytes(len(now)), now] if now != self.synced else []
        return list(dict.fromkeys([self.synced, *partly]))


@dataclass(eq=False, slots=True)
class Folder:
    """names: of now. past: for a name changed since the last fsync, what it meant before, in order."""

    names: dict[str, "File | Folder"] = field(default_factory=dict)
    past: dict[str, list["File | Folder | None"]] = field(default_factory=dict)

    def put(self, name: str, node: "File | Folder | None") -> None:
        self.past.setdefault(name, []).append(self.names.pop(name, None))
        if node is not None:
            self.names[name] = node

    def meanings(self, name: str) -> list["File | Folder | None"]:
        """What a name may mean after a power cut, what is durable first."""
        return list(dict.fromkeys([*self.past.get(name, ()), self.names.get(name)]))

    @property
    def all_names(self) -> list[str]:
        return sorted({*self.names, *self.past})


_Atom = tuple[Folder, str] | File
_Choice = Mapping[_Atom, int]


class Disk:
    """Everything below the folder that a trace watched, which is durable itself."""

    def __init__(self) -> None:
        self.top = Folder()
        self._open: dict[tuple[int, int], File | Folder] = {}

    def begin(self) -> None:
        """A new trace: nobody has anything open."""
        self._open.clear()

    def follow(self, call: Call) -> None:
        """Take over what a system call did."""
        if call.name in READING | {"report"} or call.result is None:
            return
        if call.result < 0:
            if call.name in ("fsync", "fdatasync") and isinstance(self._file(call), File):
                self._file(call).failed = True
            return
        if call.name in OPENING:
            self._opened(call)
        elif call.name in ("fsync", "fdatasync"):
            self._synced(self._file(call))
        elif call.name in ("write", "ftruncate", "fallocate"):
            self._changed(self._file(call), call)
        elif call.name == "mkdir":
            self._put(call.path, Folder())
        elif call.name in ("unlink", "rmdir", "unlinkat"):
            self._put(call.path, None)
        elif call.name == "link":
            self._put(call.other, self._node(call.path))
        elif call.name == "rename":
            self._put(call.other, self._node(call.path))
            self._put(call.path, None)
        else:
            raise NotImplementedError(f"the model does not know what {call} does")

    def _file(self, call: Call) -> File | Folder:
        return self._open[call.writer, call.arguments[0]]

    def _opened(self, call: Call) -> None:
        node = self._node(call.path)
        if node is None:
            node = File()
            self._put(call.path, node)
        assert not call.flags & os.O_TRUNC, f"{call}: truncated in place"
        self._open[call.writer, call.result] = node

    def _synced(self, node: File | Folder) -> None:
        if isinstance(node, Folder):
            node.past.clear()
        elif not node.failed:
            node.synced = bytes(node.data)

    def _changed(self, node: File | Folder, call: Call) -> None:
        assert isinstance(node, File)
        if call.name == "write":
            end = call.offset + call.result
            node.data.extend(bytes(max(0, call.offset - len(node.data))))
            node.data[call.offset : end] = call.data[: call.result]
        elif call.name == "ftruncate":
            size = call.arguments[1]
            node.data[size:] = bytes(max(0, size - len(node.data)))
        else:
            _, mode, start, length = call.arguments[:4]
            assert mode == 0, f"{call}: mode {mode}"
            node.data.extend(bytes(max(0, start + length - len(node.data))))

    def _node(self, path: str) -> File | Folder | None:
        node: File | Folder | None = self.top
        for name in PurePosixPath(path).parts:
            node = node.names.get(name) if isinstance(node, Folder) else None
        return node

    def _put(self, path: str, node: File | Folder | None) -> None:
        parent = self._node(str(PurePosixPath(path).parent))
        assert isinstance(parent, Folder), path
        parent.put(PurePosixPath(path).name, node)

    @property
    def now(self) -> Tree:
        """As a running process sees it."""
        return _tree(self.top, {})

    @property
    def durable(self) -> Tree:
        """What is certain to be there after a power cut."""
        return _tree(self.top, dict.fromkeys(_atoms(self.top), 0))

    @property
    def uncertain(self) -> bool:
        """Whether a power cut could take or change anything but hidden files."""
        return any(not _is_hidden(atom) for atom in _atoms(self.top))

    def refused(self) -> list[str]:
        """Files under a name of their own although an fsync of them failed."""
        return sorted(
            name for name, node in _walk(self.top) if isinstance(node, File) and node.failed
        )

    def after_power_cut(self, rng: random.Random) -> Iterator[Tree]:
        """What may be found: every combination while they are few, otherwise a sample.

        The bytes of hidden files are left out: nobody reads them.
        """
        atoms = _atoms(self.top)
        hidden = [atom for atom in atoms if _is_hidden(atom)]
        seen = [atom for atom in atoms if not _is_hidden(atom)]
        for choice in _choices(seen, rng):
            yield _tree(self.top, choice)
        for choice in ({}, dict.fromkeys(seen, 0)):
            yield _tree(self.top, {**choice, **dict.fromkeys(hidden, 0)})


def _choices(atoms: Sequence[_Atom], rng: random.Random) -> Iterator[_Choice]:
    counts = [len(_options(atom)) for atom in atoms]
    if prod(counts) <= _MOST_PRODUCTS:
        for picks in itertools.product(*map(range, counts)):
            yield dict(zip(atoms, picks, strict=True))
        return
    yield {}
    yield dict.fromkeys(atoms, 0)
    for atom, count in zip(atoms, counts, strict=True):
        for pick in range(count):
            yield {atom: pick}
            yield {**dict.fromkeys(atoms, 0), atom: pick}
    for _ in range(_SAMPLED):
        yield {atom: rng.randrange(count) for atom, count in zip(atoms, counts, strict=True)}


def _options(atom: _Atom) -> list:
    return atom.contents if isinstance(atom, File) else atom[0].meanings(atom[1])


def _is_hidden(atom: _Atom) -> bool:
    return isinstance(atom, tuple) and atom[1].startswith(".")


def _atoms(folder: Folder) -> list[_Atom]:
    """What a power cut may decide one way or the other, below a folder."""
    found: dict[_Atom, None] = {}
    for name in folder.all_names:
        meanings = folder.meanings(name)
        if len(meanings) > 1:
            found[folder, name] = None
        for node in meanings:
            if isinstance(node, Folder):
                found.update(dict.fromkeys(_atoms(node)))
            elif node is not None and not name.startswith(".") and len(node.contents) > 1:
                found[node] = None
    return list(found)


def _walk(folder: Folder, prefix: str = "") -> Iterator[tuple[str, "File | Folder"]]:
    for name, node in folder.names.items():
        if not name.startswith("."):
            yield prefix + name, node
            if isinstance(node, Folder):
                yield from _walk(node, f"{prefix}{name}/")


def _tree(folder: Folder, choice: _Choice, prefix: str = "") -> Tree:
    """Atoms without a choice are as they are now."""
    tree: Tree = {}
    for name in folder.all_names:
        pick = choice.get((folder, name))
        node = folder.names.get(name) if pick is None else folder.meanings(name)[pick]
        if isinstance(node, Folder):
            tree[prefix + name] = None
            tree.update(_tree(node, choice, f"{prefix}{name}/"))
        elif node is not None:
            tree[prefix + name] = b"" if name.startswith(".") else _bytes(node, choice)
    return tree


def _bytes(file: File, choice: _Choice) -> bytes:
    return file.contents[choice[file]] if file in choice else bytes(file.data)


def lay_out(tree: Tree, folder: Path) -> None:
    """Make a tree real in an empty folder."""
    for name, data in sorted(tree.items()):
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)
