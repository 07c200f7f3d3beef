"""Text files and folders of data sets, read within bounds: regular files, and no folder twice."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ....cache.errors import InputError
from ..images.files import SUFFIXES, is_hidden

# The most that a file of boxes for many images may hold, and a file for one image.
MAX_TABLE_BYTES, MAX_PAGE_BYTES = 2**29, 2**25
# The most files that the folder of a data set may hold.
_MAX_FILES = 20_000_000
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BY_ZEROS: Mapping[tuple[bool, ...], str] = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
}
_HEAD_BYTES = 2**16


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file. Raises InputError where it is none, or larger than `limit`."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a regular file")
        if status.st_size > limit:
            raise InputError(f"{path}: {status.st_size} bytes, expected at most {limit}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def read_text(path: Path, limit: int = MAX_PAGE_BYTES) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32.

    Raises InputError.
    """
    raw = read_bytes(path, limit)
    try:
        text = raw.decode(encoding_of(raw) or "utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line}: not UTF-8; save the file in UTF-8") from error
    refuse_zero_byte(text, path)
    return text


def refuse_zero_byte(text: str, path: Path) -> None:
    """Raise InputError where a text has a zero byte, as a damaged file and UTF-16 without its mark have."""
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise InputError(f"{path}: line {line}: a zero byte; restore the file, or save it in UTF-8")


def state_of(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes and when it changed, in ns: others, and it has to be read again.

    Raises InputError.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns


def encoding_of(raw: bytes) -> str | None:
    """Return the encoding that the byte order mark of a text names, or else its zero bytes; None for neither.

    A text in UTF-16 or UTF-32 that begins with two ASCII letters has a zero byte at a fixed place, as in
    JSON (RFC 4627, section 3), and texts in other encodings have none.
    """
    zeros = tuple(byte == 0 for byte in raw[:4])
    return next((name for mark, name in _BOMS if raw.startswith(mark)), _BY_ZEROS.get(zeros))


def head_of(path: Path) -> str:
    """Return the beginning of a regular text file, "" where it cannot be read: enough to tell what it is."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            raw = file.read(_HEAD_BYTES)
        return raw.decode(encoding_of(raw) or "utf-8", errors="replace")
    except OSError:
        return ""


def number(text: str) -> float | None:
    """Return the number that a text is; None where it is none, or not finite.

    Python itself would also take "1_0", "nan", and digits of other scripts.
    """
    if not text or text.strip("0123456789+-.eE"):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def files_below(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """Yield the files below a folder that have one of the suffixes, in the order of their names.

    Hidden ones are left out; links to folders are followed, and each folder is looked into once. Raises
    InputError for a folder that cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    count = 0
    for root, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        count += len(names)
        if count > _MAX_FILES:
            raise InputError(
                f"{folder}: more than {_MAX_FILES} files; name the folder of one data set"
            )
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes and not is_hidden(name):  # noqa: PTH122
                yield Path(root, name)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: {error.strerror}") from error


def hidden_files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """Yield the files of these suffixes that `files_below` leaves out, since a dot begins their path.

    What systems leave in folders is none of them.
    """
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if n.startswith(".") or not is_hidden(n))
        inside = any(part.startswith(".") for part in Path(root).relative_to(folder).parts)
        for name in sorted(names):
            if (inside or name.startswith(".")) and Path(name).suffix.lower() in suffixes:
                yield Path(root, name)


def some_files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """Yield the files that `files_below` does in the order of the disk, for a look at the first ones."""
    waiting, seen = [folder], set()
    while waiting:
        try:
            status = (top := waiting.pop()).stat()
            with os.scandir(top) as found:
                again = (status.st_dev, status.st_ino) in seen
                seen.add((status.st_dev, status.st_ino))
                for entry in found:
                    if again or is_hidden(entry.name):
                        continue
                    if entry.is_dir():
                        waiting.append(Path(entry.path))
                    elif os.path.splitext(entry.name)[1].lower() in suffixes:  # noqa: PTH122
                        yield Path(entry.path)
        except OSError as error:
            if top == folder:
                raise InputError(f"{folder}: {error.strerror}") from error


def names_in(folder: Path) -> list[str]:
    """Return the names of what lies in a folder, in order; none where it is no folder.

    Nothing is said of what they are: to look at each of many files takes long. Raises InputError.
    """
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error


def has_file(folder: Path, suffixes: frozenset[str]) -> bool:
    """Return whether a file with one of the suffixes lies below a folder.

    Raises InputError where the folder may not be looked into.
    """
    return folder.is_dir() and next(some_files(folder, suffixes), None) is not None


def is_closed(path: Path) -> bool:
    """Return whether there is a file or folder that may not be read, or that lies in such a folder."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.EACCES
    return not os.access(path, os.R_OK)


def has_image(folder: Path) -> bool:
    """Return whether an image lies below a folder, by its suffix."""
    return has_file(folder, SUFFIXES)


def plain_path(path: Path) -> Path:
    """Return an absolute path, without ".." where that means the same file."""
    plain = Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow links)
    try:
        return plain if plain.samefile(path) else path.absolute()
    except OSError:
        return path.absolute()


def shared_folder(paths: list[Path]) -> Path:
    """Return the deepest folder that all files lie in."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def one_line(text: str) -> str:
    """Return a text of a data set for a message: in one line, and not too long."""
    plain = " ".join(text.split())
    return plain if len(plain) <= 120 else f"{plain[:117]}..."


def first_few(items: Sequence[str], count: int = 3) -> str:
    """Return the first items of a list for a message."""
    return ", ".join(items[:count]) + (", ..." if len(items) > count else "")


def with_reasons(unread: Mapping[str, str]) -> list[str]:
    """Return the names of files, each with the reason for which it cannot be read."""
    return [f"{name} ({why})" for name, why in unread.items()]
