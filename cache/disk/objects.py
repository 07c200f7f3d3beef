"""A cache in an object store: s3://bucket/prefix in place of a folder.

An object is written whole or not at all, and seen by all at once; a name that must not be taken twice is
put on condition that nobody has it. So there is nothing to lock, to reserve, or to make durable.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path, PosixPath
from tempfile import TemporaryFile
from typing import BinaryIO, Literal, ParamSpec, Self, TypeVar

import google_crc32c

from ..errors import CorruptCache, InputError, StorageError
from .nearby import NearbyFrames, nearby_frames
from .remote import SCHEMES, SINGLE_PUT_BYTES, AlreadyThere, Remote, remote_of

P = ParamSpec("P")
T = TypeVar("T")

# A Path has already made one of two slashes.
_URL = re.compile(r"([a-z0-9]{2,}):/{1,3}(.*)")
_BLOCK_BYTES = 2**23


def located(place: Path | str) -> Path:
    """Where a cache lies: a folder, by its path or as file:///path, or the prefix of s3://bucket/prefix.

    Raises InputError for other URLs, and for credentials in one.
    """
    match = None if isinstance(place, ObjectPath) else _URL.fullmatch(str(place))
    if match is None:
        return Path(place) if isinstance(place, str) else place
    scheme, rest = match[1], match[2].strip("/")
    if scheme == "file":
        return Path("/", rest)
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in (*SCHEMES, "file"))
        raise InputError(
            f"{scheme}://...: no place for a cache; known: {known}, or a folder's path"
        )
    if "@" in rest.split("/")[0] or "?" in rest or not rest:
        raise InputError(
            f"expected {scheme}://bucket/prefix and nothing else in it: credentials and endpoints are "
            "taken from the environment, e.g. AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL"
        )
    return ObjectPath(f"{scheme}:/{rest}")


class ObjectPath(PosixPath):
    """The name of an object, or of a prefix. It is in no file system: whatever would look there says so."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.parts[0]}//{self.key_with_bucket}"

    def __fspath__(self) -> str:
        raise InputError(
            f"{self}: this takes a folder only; get one by `fdet cache copy {self} FOLDER`"
        )

    @property
    def key_with_bucket(self) -> str:
        """bucket/prefix/name."""
        return "/".join(self.parts[1:])

    @property
    def key(self) -> str:
        """Below the bucket."""
        return "/".join(self.parts[2:])

    @property
    def remote(self) -> Remote:
        """The bucket; raises InputError where obstore is not installed."""
        return remote_of(self.parts[0].removesuffix(":"), self.parts[1])

    def exists(self) -> bool:
        """Whether it is an object; raises StorageError."""
        return self.remote.size(self.key) is not None

    def resolve(self, strict: bool = False) -> Self:
        """Itself: no links."""
        return self

    def absolute(self) -> Self:
        """Itself."""
        return self

    def iterdir(self) -> Iterator[ObjectPath]:  # type: ignore[override]
        """What lies directly below."""
        for name in dict.fromkeys(name.split("/")[0] for name in self.names()):
            yield self / name

    def names(self) -> list[str]:
        """Of all objects below, as paths from here."""
        start = f"{self.key}/" if self.key else ""
        return [key.removeprefix(start) for key in self.remote.keys(self.key)]


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object that is read in parts."""

    path: ObjectPath
    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Fewer bytes where the object ends before; raises OSError, StorageError."""
        return self.path.remote.read_at(self.path.key, offset, min(length, self.size - offset))


def opened_object(path: ObjectPath) -> OpenObject:
    """Raises CorruptCache where none is."""
    size = path.remote.size(path.key)
    if size is None:
        raise CorruptCache(f"{path}: No such file or directory")
    return OpenObject(path, size)


def fetch(root: ObjectPath, chunks: Sequence[tuple[str, int, int, int]]) -> Iterator[bytes]:
    """Of each (name, offset, length, crc32c) its bytes, in turn; all are under way together.

    One request each, and a second one where the checksum does not hold: then it is left to the caller.
    Raises FileNotFoundError, StorageError.
    """
    remote, near = root.remote, nearby_frames()
    futures = [
        remote.pool.submit(_fetched, remote, near, root / chunk[0], *chunk[1:]) for chunk in chunks
    ]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def _fetched(
    remote: Remote,
    near: NearbyFrames | None,
    path: ObjectPath,
    offset: int,
    length: int,
    crc32c: int,
) -> bytes:
    label = f"{path} {offset} {length} {crc32c}"
    data = None if near is None else near.get(label, length, crc32c)
    if data is not None:
        return data
    for _ in range(2):
        data = remote.read_at(path.key, offset, length)
        if len(data) == length and google_crc32c.value(data) == crc32c:
            if near is not None:
                near.keep(label, data)
            break
    assert data is not None
    return data


@contextmanager
def uploaded(path: ObjectPath, existing: Literal["aside", "keep", "replace"]) -> Iterator[BinaryIO]:
    """A scratch file of this machine; it becomes the object when the block ends, and never if it raises.

    existing: "keep" an object that is there, or "replace" it; "aside": raises StorageError unless its bytes
    are the same: objects are not renamed.
    """
    try:
        with TemporaryFile() as file:
            yield file
            file.flush()
            _upload(path, file, existing)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error} (files are put together in $TMPDIR)"
        ) from error


def _upload(path: ObjectPath, file: BinaryIO, existing: str) -> None:
    size = file.seek(0, 2)
    try:
        if size > SINGLE_PUT_BYTES and existing != "replace" and path.exists():
            raise AlreadyThere
        if _sent(path, file, size, create=existing != "replace"):
            return
        # It is ours now, and wrong: once more in its place.
        if not _sent(path, file, size, create=False):
            raise StorageError(
                f"{path}: the store has other bytes than it was sent, twice; delete what lies there, and run "
                "the same command again"
            )
    except AlreadyThere:
        if existing != "keep" and not _same(path, file, size):
            raise StorageError(
                f"{path} holds other bytes than this command has: another writer was faster, "
                "or one was ended whose bits this machine does not repeat; choose another prefix, or delete "
                "what lies there"
            ) from None


def _sent(path: ObjectPath, file: BinaryIO, size: int, *, create: bool) -> bool:
    """Whether the store has these bytes now, by what it reports, else by what it gives back: not every
    store looks at the checksums that are sent along. Raises AlreadyThere.
    """
    if size <= SINGLE_PUT_BYTES:
        file.seek(0)
        reported = path.remote.put(path.key, file.read(), create=create)
    else:
        reported = path.remote.put_parts(path.key, file)
    return reported or _same(path, file, size)


def _same(path: ObjectPath, file: BinaryIO, size: int) -> bool:
    if path.remote.size(path.key) != size:
        return False
    mine, theirs = hashlib.sha256(), hashlib.sha256()
    file.seek(0)
    for offset in range(0, size, _BLOCK_BYTES):
        mine.update(file.read(_BLOCK_BYTES))
        theirs.update(path.remote.read_at(path.key, offset, min(_BLOCK_BYTES, size - offset)))
    return mine.digest() == theirs.digest()


def again_from_objects(read: Callable[P, T]) -> Callable[P, T]:
    """Decorates what reads and checks: bytes that an object store sent damaged are asked for once more."""

    @wraps(read)
    def reading(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except CorruptCache:
            if not any(isinstance(argument, ObjectPath) for argument in args):
                raise
            return read(*args, **kwargs)

    return reading


def refuse_hdf5(root: Path, store: str) -> None:
    """Raises InputError for a cache of an object store that is not Zarr."""
    if isinstance(root, ObjectPath) and store != "zarr":
        raise InputError(
            f"{root}: in an object store a cache is Zarr, this one is {store}: `fdet cache convert CACHE "
            "OUT --store zarr`, then `fdet cache copy`"
        )
