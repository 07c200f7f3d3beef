"""A bucket of an object store, accessed by obstore.

Every request is retried with growing pauses, and no error repeats the answer of the store, which may name
credentials. These come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...) and go nowhere else.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from typing import Any, BinaryIO, TypeVar

from ..errors import InputError, StorageError

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMES = {"s3": "S3Store", "gs": "GCSStore", "az": "AzureStore"}
REQUESTS_AT_ONCE = 32
# About half a minute in total, in addition to obstore's own retries.
PAUSES_SECONDS = (0.1, 0.4, 1.5, 4.0, 10.0, 20.0)
# The time after which there are no more retries.
PATIENCE_SECONDS = 120
ANSWER_SECONDS = 60
# Uploads may take longer.
SENDING_SECONDS = 900
# A conditional put is one request; larger objects are uploaded in parts, which allow no condition.
SINGLE_PUT_BYTES = 2**26
_PART_BYTES = 2**23
_STATUS = re.compile(r"status code: (\d{3})")


class AlreadyThere(Exception):
    """An object of this name exists already."""


class Remote:
    """One bucket, whose keys are paths below it. Threads may share it, but forked processes may not.

    Reading an absent object raises FileNotFoundError; every other failure raises StorageError.
    """

    def __init__(self, scheme: str, bucket: str) -> None:
        self.url = f"{scheme}://{bucket}"
        self._obstore = _library()
        self._store = self._opened(scheme, bucket, ANSWER_SECONDS)
        self._sending = self._opened(scheme, bucket, SENDING_SECONDS)
        self.pool = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="fdet-objects")

    def size(self, key: str) -> int | None:
        """Return the size of an object in bytes, or None where there is none."""
        try:
            return int(
                self._tried("read", key, lambda: self._obstore.head(self._store, key))["size"]
            )
        except FileNotFoundError:
            return None

    def read(self, key: str, limit: int) -> bytes:
        """Read a whole object. Raises ValueError where it has more than `limit` bytes."""

        def whole() -> bytes:
            found = self._obstore.get(self._store, key)
            if found.meta["size"] > limit:
                raise _TooLong(f"{found.meta['size']} bytes, expected at most {limit}")
            return bytes(found.bytes())

        return self._tried("read", key, whole)

    def read_at(self, key: str, offset: int, length: int) -> bytes:
        """Read bytes at an offset, fewer where the object ends earlier, with one request unless it fails."""
        if length < 1:
            return b""

        def part() -> bytes:
            return bytes(self._obstore.get_range(self._store, key, start=offset, length=length))

        try:
            return self._tried("read", key, part)
        except _OutOfRange:
            return b""

    def put(self, key: str, data: bytes, *, create: bool) -> bool:
        """Write an object in one request; return whether the store reports the checksum of these bytes.

        create: whether to raise AlreadyThere where an object of this name exists.
        """
        mode = "create" if create else "overwrite"
        found = self._tried(
            "write",
            key,
            lambda: self._obstore.put(self._sending, key, data, mode=mode, use_multipart=False),
        )
        return _tag(found) == hashlib.md5(data, usedforsecurity=False).hexdigest()

    def put_parts(self, key: str, file: BinaryIO) -> bool:
        """Write or replace an object in parts, and return as `put` does.

        The object appears when all parts are there.
        """

        def whole() -> Any:
            file.seek(0)
            return self._obstore.put(
                self._sending,
                key,
                file,
                chunk_size=_PART_BYTES,
                use_multipart=True,
                max_concurrency=8,
            )

        tag = _tag(self._tried("write", key, whole))
        file.seek(0)
        digests = []
        while part := file.read(_PART_BYTES):
            digests.append(hashlib.md5(part, usedforsecurity=False).digest())
        whole_digest = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
        return tag == f"{whole_digest}-{len(digests)}"

    def keys(self, prefix: str) -> list[str]:
        """Return all keys below a prefix, which ends before a slash."""

        def listed() -> list[str]:
            batches = self._obstore.list(self._store, prefix, chunk_size=1000)
            return [entry["path"] for batch in batches for entry in batch]

        return self._tried("list", prefix, listed)

    def _opened(self, scheme: str, bucket: str, seconds: int) -> Any:
        import obstore.store

        options: dict[str, Any] = {"timeout": timedelta(seconds=seconds)}
        # A user who names an endpoint without TLS means it.
        options["allow_http"] = any(_endpoints())
        config = {"checksum_algorithm": "SHA256"} if scheme == "s3" else {}
        retries = {"max_retries": 2, "retry_timeout": timedelta(seconds=seconds)}
        kind = getattr(obstore.store, SCHEMES[scheme])
        try:
            return kind(bucket, config=config, client_options=options, retry_config=retries)
        except (self._obstore.exceptions.BaseError, ValueError) as error:
            raise InputError(
                f"{self.url}: the environment's settings of the object store cannot be used "
                f"({type(error).__name__}); see docs/object-stores.md"
            ) from None

    def _tried(self, verb: str, key: str, call: Callable[[], T]) -> T:
        if os.getpid() != _process():
            raise StorageError(
                f"cannot {verb} {self.url}/{key}: this process was forked from one that had used the "
                "object store; start processes by spawn"
            )
        started = time.monotonic()
        for pause in self._pauses():
            try:
                return call()
            except _TooLong as error:
                raise ValueError(str(error)) from None
            except FileNotFoundError:
                if verb == "read":
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
                raise StorageError(f"cannot {verb} {self.url}/{key}: no such bucket") from None
            except (self._obstore.exceptions.BaseError, OSError, ValueError) as error:
                self._refuse_for_good(verb, key, error)
                if pause is None or time.monotonic() - started > PATIENCE_SECONDS:
                    raise StorageError(
                        f"cannot {verb} {self.url}/{key}: {_reason(error)}; what was finished is kept: "
                        "fix this and run the same command again"
                    ) from None
                log.info("%s/%s: %s; retrying in %.1f s", self.url, key, _reason(error), pause)
            time.sleep(pause * random.uniform(0.5, 1.0))
        raise AssertionError

    @staticmethod
    def _pauses() -> Iterator[float | None]:
        """Yield the pause after each attempt, and None after the last."""
        yield from PAUSES_SECONDS
        yield None

    def _refuse_for_good(self, verb: str, key: str, error: Exception) -> None:
        """Raise an error that a retry would not change."""
        errors = self._obstore.exceptions
        if isinstance(error, errors.AlreadyExistsError | errors.PreconditionError):
            raise AlreadyThere from None
        if _status(error) in ("401", "403"):
            raise StorageError(
                f"cannot {verb} {self.url}/{key}: the store refuses these credentials; it takes those of "
                "the environment, e.g. AWS_ACCESS_KEY_ID"
            ) from None
        if _status(error) == "416":
            raise _OutOfRange from None


class _TooLong(Exception):
    """The object has more bytes than the reader accepts."""


class _OutOfRange(Exception):
    """The range begins beyond the end of the object."""


def remote_of(scheme: str, bucket: str) -> Remote:
    """Return the Remote that all users of a bucket share while the environment's settings are the same."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return _remote(scheme, bucket, frozenset(settings.items()))


@cache
def _remote(scheme: str, bucket: str, settings: frozenset[tuple[str, str]]) -> Remote:
    _process()
    return Remote(scheme, bucket)


@cache
def _process() -> int:
    """Return the process that obstore's threads belong to, since they do not survive a fork."""
    return os.getpid()


def _endpoints() -> Iterator[bool]:
    """Yield, for each endpoint variable of the environment, whether it names one without TLS."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        yield os.environ.get(name, "").startswith("http://")


def _library() -> Any:
    try:
        import obstore
        import obstore.exceptions
    except ImportError as error:
        raise InputError(
            "object stores need obstore: pip install 'frozendet[objects]', or copy the cache to a folder"
        ) from error
    return obstore


def _tag(result: Any) -> str:
    """Return the ETag in a store's answer.

    For most S3 stores it is the MD5 of the object, or of the MD5s of its parts.
    """
    return str((result or {}).get("e_tag") or "").strip('"')


def _status(error: Exception) -> str:
    found = _STATUS.search(str(error))
    return found[1] if found else ""


def _reason(error: Exception) -> str:
    """Return the reason of an error in fdet's own words, since the store's may contain anything."""
    status = _status(error)
    return (
        f"it answers with HTTP {status}" if status else "it does not answer, or cuts its answer off"
    )
