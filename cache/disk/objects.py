"""A cache in an object store: s3://bucket/prefix in place of a folder.

An object is written completely or not at all, and is visible to all at once; a name that must not be taken
twice is written on the condition that it is free. So there is nothing to lock, reserve, or make durable.
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

# A Path has already turned two slashes into one.
_URL = re.compile(r"([a-z0-9]{2,}):/{1,3}(.*)")
_BLOCK_BYTES = 2**23


def located(place: Path | str) -> Path:
    """Return the location of a cache: a folder (a path or file:///path) or a prefix (s3://bucket/prefix).

    Raises InputError for other URLs, and for a URL with credentials.
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
    """The name of an object or of a prefix.

    It is in no file system, and raises InputError where it is used as a path in one.
    """

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
        """The path below the bucket."""
        return "/".join(self.parts[2:])

    @property
    def remote(self) -> Remote:
        """The bucket; raises InputError where obstore is not installed."""
        return remote_of(self.parts[0].removesuffix(":"), self.parts[1])

    def exists(self) -> bool:
        """Return whether this is an object. Raises StorageError."""
        return self.remote.size(self.key) is not None

    def resolve(self, strict: bool = False) -> Self:
        """Return the path itself, as there are no links."""
        return self

    def absolute(self) -> Self:
        """Return the path itself."""
        return self

    def iterdir(self) -> Iterator[ObjectPath]:  # type: ignore[override]
        """Yield the objects and prefixes directly below."""
        for name in dict.fromkeys(name.split("/")[0] for name in self.names()):
            yield self / name

    def names(self) -> list[str]:
        """Return the names of all objects below, as paths relative to this one."""
        start = f"{self.key}/" if self.key else ""
        return [key.removeprefix(start) for key in self.remote.keys(self.key)]


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object that is read in parts."""

    path: ObjectPath
    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Read bytes at an offset, fewer where the object ends earlier. Raises OSError, StorageError."""
        return self.path.remote.read_at(self.path.key, offset, min(length, self.size - offset))


def opened_object(path: ObjectPath) -> OpenObject:
    """Return an object to be read in parts. Raises CorruptCache where there is none."""
    size = path.remote.size(path.key)
    if size is None:
        raise CorruptCache(f"{path}: No such file or directory")
    return OpenObject(path, size)


def fetch(root: ObjectPath, chunks: Sequence[tuple[str, int, int, int]]) -> Iterator[bytes]:
    """Yield the bytes of each (name, offset, length, crc32c) in turn; all are requested concurrently.

    Each takes one request, and a second one where the checksum does not hold, whose result the caller has
    to check. Raises FileNotFoundError, StorageError.
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
    """Yield a local scratch file; it becomes the object when the block ends, and never if it raises.

    existing: "keep" keeps an object that exists, "replace" replaces it, and "aside" raises StorageError
    unless its bytes are the same, since objects are not renamed.
    """
    try:
        with TemporaryFile() as file:
            yield file
            file.flush()
            _upload(path, file, existing)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error} (files are assembled in $TMPDIR)"
        ) from error


def _upload(path: ObjectPath, file: BinaryIO, existing: str) -> None:
    size = file.seek(0, 2)
    try:
        if size > SINGLE_PUT_BYTES and existing != "replace" and path.exists():
            raise AlreadyThere
        if _sent(path, file, size, create=existing != "replace"):
            return
        # The object is ours now, but damaged: it is sent once more in its place.
        if not _sent(path, file, size, create=False):
            raise StorageError(
                f"{path}: the store has other bytes than it was sent, twice; delete what lies there, and run "
                "the same command again"
            )
    except AlreadyThere:
        if existing != "keep" and not _same(path, file, size):
            raise StorageError(
                f"{path} holds other bytes than this command has: another writer was faster, "
                "or an interrupted one had results that this machine does not reproduce bit for bit; choose "
                "another prefix, or delete what lies there"
            ) from None


def _sent(path: ObjectPath, file: BinaryIO, size: int, *, create: bool) -> bool:
    """Send a file and return whether the store has its bytes now. Raises AlreadyThere.

    The checksum that the store reports decides or, where that does not match, the bytes that it returns:
    not every store verifies the checksums that are sent along.
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


def retry_from_objects(read: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that reads and checks, so that it retries where an object store sent damage."""

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
    """Raise InputError for a cache in an object store that is not Zarr."""
    if isinstance(root, ObjectPath) and store != "zarr":
        raise InputError(
            f"{root}: in an object store a cache is Zarr, this one is {store}: `fdet cache convert CACHE "
            "OUT --store zarr`, then `fdet cache copy`"
        )
