"""python -m tests.hostile.watched CORPUS FOLDER: tries every case of a corpus; prints JSON.

Cases are made in one process, a few at a time, and each is tried in another of its own. That may open
nothing but its folder and the installation, start no program, and has a limit of memory and of time.
Opening is watched twice: by Python's audit events (every path), and by inotify (the folder "outside",
also from C).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fdet.cache.errors import MissingSample

from .case import Case, good_of, outside_of

ROOT = Path(__file__).parents[2]
PREPARATION_SECONDS = 60.0
AT_A_TIME = 16
GROWTH_BYTES = 600 * 2**20
ROOM_BYTES = 3 * 2**30
MESSAGE_CHARACTERS = 2000

_FORBIDDEN_EVENTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")
_INSTALLED = (sys.prefix, sys.base_prefix, str(ROOT), "/proc", "/sys")
# IN_ACCESS, IN_MODIFY, IN_ATTRIB, IN_OPEN, IN_MOVED, IN_CREATE, IN_DELETE
_ANYTHING = 0x1 | 0x2 | 0x4 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200


def outcomes(cases: Sequence[Case], base: Path) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """What came of each case, by name; they are made together, in folders below `base`."""
    folders = [base / f"{k:02}" for k in range(len(cases))]
    for folder in folders:
        folder.mkdir()
        outside_of(folder).mkdir()
    made: list[list[tuple[str, str]]] = []
    while len(made) < len(cases):
        made += _made(cases[len(made) :], folders[len(made) :])
    for case, folder, lines in zip(cases, folders, made, strict=True):
        yield case.name, outcome(case, folder, lines)


def _made(cases: Sequence[Case], folders: Sequence[Path]) -> list[list[tuple[str, str]]]:
    """What went wrong as each case was made, up to one of which the process dies or hangs."""

    def make(tell: Tell) -> None:
        for case, folder in zip(cases, folders, strict=True):
            try:
                case.prepare(folder)
            except BaseException:
                tell("problem", traceback.format_exc()[-MESSAGE_CHARACTERS:])
            tell("made", case.name)

    made: list[list[tuple[str, str]]] = [[]]
    for kind, text in _in_child(make, PREPARATION_SECONDS):
        if kind == "made":
            made.append([])
        else:
            made[-1].append((kind, text))
    return made if made[-1] else made[:-1]


def outcome(case: Case, folder: Path, lines: list[tuple[str, str]]) -> dict[str, list[str]]:
    """What went wrong in a case, and which errors came as they should. lines: as it was made."""
    if not lines:
        lines = list(_in_child(lambda tell: _try(case, folder, tell), case.seconds))
    told = [(kind, text) for kind, text in lines if kind in ("problem", "refused")]
    problems = [text for kind, text in told if kind == "problem"]
    refusals = sorted({text for kind, text in told if kind == "refused"})
    if case.refused and not refusals and not problems:
        problems.append("nothing was refused")
    shutil.rmtree(folder)
    return {"problems": list(dict.fromkeys(problems)), "refusals": refusals}


Tell = Callable[[str, str], None]


def _in_child(work: Callable[[Tell], object], seconds: float) -> Iterator[tuple[str, str]]:
    """What `work` tells in a process of its own; a problem more where that dies or takes too long."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        code = 1
        try:
            work(lambda kind, text: _send(write, kind, text))
            code = 0
        except BaseException:
            _send(write, "problem", traceback.format_exc()[-MESSAGE_CHARACTERS:])
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    told, late = _read_all(read, seconds)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    lines = [json.loads(line) for line in told.splitlines() if line.endswith(b"]")]
    yield from ((kind, text) for kind, text in lines)
    last = lines[-1][1] if lines else "the beginning"
    if late:
        yield "problem", f"still running after {seconds} s; last heard of: {last}"
    elif status:
        yield "problem", f"died with status {status}; last heard of: {last}"


def _send(descriptor: int, kind: str, text: str) -> None:
    os.write(descriptor, json.dumps([kind, text]).encode() + b"\n")


def _read_all(descriptor: int, seconds: float) -> tuple[bytes, bool]:
    parts, deadline = [], time.monotonic() + seconds
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(descriptor, 2**16)
        if not part:
            os.close(descriptor)
            return b"".join(parts), False
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts), True


def _try(case: Case, folder: Path, tell: Tell) -> None:
    warnings.simplefilter("ignore")
    notifier = _watch(outside_of(folder))
    _limit_memory()
    before = _resident_bytes()
    tempfile.tempdir = str(folder)
    _forbid(folder, tell)
    for name, call in case.attempts(folder):
        tell("began", name)
        try:
            call()
        except case.expected as error:
            # A failed image is told of by its id: no file is to blame, and nothing was refused.
            failed = isinstance(error, MissingSample)
            tell("failed" if failed else "refused", type(error).__name__)
            for why in _unclear(str(error), str(folder) if case.named and not failed else ""):
                tell("problem", f"{name}: {type(error).__name__}: {why}")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            tell("problem", f"{name}: {error!r:.300} ({Path(where.filename).name}:{where.lineno})")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if grown > GROWTH_BYTES:
        tell("problem", f"memory grew by {grown / 2**20:.0f} MiB")
    for event in _events(notifier):
        tell("problem", f"outside: {event}")


def _unclear(message: str, within: str) -> Iterator[str]:
    """within: the folder that it must name something of."""
    line = " ".join(message.split())
    if len(line) > MESSAGE_CHARACTERS:
        yield f"a message of {len(line)} characters: {line[:200]!a}"
    elif within not in line:
        yield f"it does not name the file: {line!a}"
    if not line.isprintable():
        yield f"its message is not printable: {line[:300]!a}"


def _limit_memory() -> None:
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    threads = 16 * 2**20 * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_AS, (now + threads + ROOM_BYTES,) * 2)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _forbid(folder: Path, tell: Tell) -> None:
    """From here on, tell of every open and every program outside. It cannot be undone."""
    outside = str(outside_of(folder))
    mine = (str(folder), str(good_of(folder)), *_INSTALLED)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in _FORBIDDEN_EVENTS:
            tell("problem", f"{event} {ascii(arguments)[:300]}")
        # A relative path goes by os.open's dir_fd; what it reaches, inotify sees.
        if event == "open" and isinstance(arguments[0], str) and arguments[0][:1] == "/":
            path = _reached(arguments[0], arguments[2])
            if path.startswith(outside) or not path.startswith(mine):
                tell("problem", f"opened {path!a}")

    sys.addaudithook(audit)


def _reached(path: str, flags: object) -> str:
    """Where an open ends up."""
    if isinstance(flags, int) and flags & os.O_NOFOLLOW:
        folder, name = os.path.split(path)
        return f"{os.path.realpath(folder)}/{name}"
    return os.path.realpath(path)


def _watch(outside: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    notifier = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    for folder in [folder for folder, _, _ in os.walk(outside)]:  # walking opens them
        if libc.inotify_add_watch(notifier, os.fsencode(folder), _ANYTHING) < 0:
            raise OSError(ctypes.get_errno(), "inotify")
    return notifier


def _events(notifier: int) -> Iterator[str]:
    try:
        raw = os.read(notifier, 2**16)
    except BlockingIOError:
        return
    while raw:
        mask, length = (int.from_bytes(raw[at : at + 4], sys.byteorder) for at in (4, 12))
        yield f"event {mask & 0xFFF:#x} on {os.fsdecode(raw[16 : 16 + length].rstrip(bytes(1)))!r}"
        raw = raw[16 + length :]


def main(corpus: str, folder: str) -> None:
    """The names of the cases that are wanted come by standard input, as a JSON list."""
    module = importlib.import_module(f"{__package__}.{corpus}")
    base, wanted = Path(folder), set(json.load(sys.stdin))
    module.make_good(good_of(base / "any"))
    gc.freeze()  # so that the children share what they do not change
    cases = [case for case in module.CASES if case.name in wanted]
    found: dict[str, dict[str, list[str]]] = {}
    for start in range(0, len(cases), AT_A_TIME):
        found.update(outcomes(cases[start : start + AT_A_TIME], base))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
