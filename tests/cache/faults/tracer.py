"""Runs functions in forked processes, stopped before each system call that touches one folder.

At every stop the call may go on, fail with an error, or be the last of its process. A seccomp
filter wakes the tracer for these calls alone. x86-64 Linux.
"""

import ctypes
import os
import platform
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Report = Callable[[str], None]
Body = Callable[[Report], None]


class Syscall(NamedTuple):
    """fd: its first argument is an open file. paths: where its arguments (folder, path) stand."""

    name: str
    fd: bool = False
    paths: tuple[tuple[int | None, int], ...] = ()


SYSCALLS: Mapping[int, Syscall] = {
    0: Syscall("read", fd=True),
    1: Syscall("write", fd=True),
    2: Syscall("open", paths=((None, 0),)),
    3: Syscall("close", fd=True),
    4: Syscall("stat", paths=((None, 0),)),
    5: Syscall("fstat", fd=True),
    6: Syscall("lstat", paths=((None, 0),)),
    17: Syscall("pread64", fd=True),
    18: Syscall("pwrite64", fd=True),
    19: Syscall("readv", fd=True),
    20: Syscall("writev", fd=True),
    21: Syscall("access", paths=((None, 0),)),
    40: Syscall("sendfile", fd=True),
    73: Syscall("flock", fd=True),
    74: Syscall("fsync", fd=True),
    75: Syscall("fdatasync", fd=True),
    76: Syscall("truncate", paths=((None, 0),)),
    77: Syscall("ftruncate", fd=True),
    82: Syscall("rename", paths=((None, 0), (None, 1))),
    83: Syscall("mkdir", paths=((None, 0),)),
    84: Syscall("rmdir", paths=((None, 0),)),
    85: Syscall("creat", paths=((None, 0),)),
    86: Syscall("link", paths=((None, 0), (None, 1))),
    87: Syscall("unlink", paths=((None, 0),)),
    88: Syscall("symlink", paths=((None, 1),)),
    217: Syscall("getdents64", fd=True),
    257: Syscall("openat", paths=((0, 1),)),
    258: Syscall("mkdirat", paths=((0, 1),)),
    262: Syscall("newfstatat", paths=((0, 1),)),
    263: Syscall("unlinkat", paths=((0, 1),)),
    264: Syscall("renameat", paths=((0, 1), (2, 3))),
    265: Syscall("linkat", paths=((0, 1), (2, 3))),
    266: Syscall("symlinkat", paths=((1, 2),)),
    277: Syscall("sync_file_range", fd=True),
    285: Syscall("fallocate", fd=True),
    296: Syscall("pwritev", fd=True),
    306: Syscall("syncfs", fd=True),
    316: Syscall("renameat2", paths=((0, 1), (2, 3))),
    326: Syscall("copy_file_range", fd=True),
    328: Syscall("pwritev2", fd=True),
    332: Syscall("statx", paths=((0, 1),)),
    437: Syscall("openat2", paths=((0, 1),)),
}
LOOKING = frozenset({"stat", "fstat", "lstat", "access", "newfstatat", "statx"})
READING = frozenset({"read", "pread64", "readv", "getdents64", "close", "flock", *LOOKING})
OPENING = frozenset({"open", "openat"})


@dataclass(slots=True)
class Call:
    """One system call. writer: the number of its function.

    path, other: below the folder that is watched. arguments: as they stood in the registers.
    data, offset: of a write. result: None where it never ran or was not waited for, negative where it
    failed.
    """

    writer: int
    name: str
    path: str = ""
    other: str = ""
    arguments: tuple[int, ...] = ()
    data: bytes = b""
    offset: int = 0
    result: int | None = None

    @property
    def flags(self) -> int:
        return self.arguments[2 if self.name == "openat" else 1]

    @property
    def changes(self) -> bool:
        """Whether it may change something on the disk."""
        if self.name in OPENING:
            return bool(self.flags & os.O_CREAT)
        return self.name not in READING

    def __str__(self) -> str:
        return " ".join(filter(None, [f"{self.writer}: {self.name}", self.path, self.other]))


Decision = int | Literal["go", "kill", "kill all"]
Decide = Callable[[Call, int], Decision]


def go(call: Call, number: int) -> Decision:
    """Let every call pass."""
    return "go"


@dataclass(slots=True)
class Trace:
    """calls: in their order, with the reports among them (named "report", never counted).

    ends: for each writer its exit status, or the signal that killed it as a negative number.
    """

    calls: list[Call] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)

    def reports(self, writer: int | None = None) -> list[str]:
        return [
            call.data.decode()
            for call in self.calls
            if call.name == "report" and writer in (None, call.writer)
        ]

    @property
    def touching(self) -> list[Call]:
        """The calls without the reports."""
        return [call for call in self.calls if call.name != "report"]


def unavailable() -> str:
    """Why nothing can be traced here; empty where it can."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"the tracer knows x86-64 Linux only, not {platform.system()} {platform.machine()}"
    try:
        made = trace(Path(os.devnull).parent, [lambda report: os.close(os.open(os.devnull, 0))])
    except OSError as error:
        return f"ptrace is forbidden here ({error})"
    return "" if made.touching and made.ends == {0: 0} else "seccomp is forbidden here"


def trace(
    scope: Path,
    bodies: Sequence[Body],
    decide: Decide = go,
    turns: Sequence[tuple[int, int | None]] = (),
    results: bool = True,
) -> Trace:
    """Run each body in a process of its own and wait for all of them.

    decide: asked before each call below `scope`, with the call's number over all writers; an
    integer is the errno with which it fails. turns: (writer, calls): this writer alone goes on until
    it has made so many calls and reports (None: to its end); after the last turn all go on.
    results: whether to wait for those of the calls that may change something.
    """
    tracer = _Tracer(scope, decide, turns, results)
    for body in bodies:
        tracer.start(body)
    tracer.watch()
    return tracer.trace


_ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")


class _Registers(ctypes.Structure):
    _fields_ = [
        # The arguments of a call have a sign.
        (name, ctypes.c_int64 if name in _ARGUMENTS else ctypes.c_uint64)
        for name in (
            *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx"),
            *("rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base"),
            *("gs_base", "ds", "es", "fs", "gs"),
        )
    ]

    @property
    def arguments(self) -> tuple[int, ...]:
        return (self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9)


_TRACEME, _CONT, _GETREGS, _SETREGS, _SYSCALL = 0, 7, 12, 13, 24
_SETOPTIONS, _GETEVENTMSG = 0x4200, 0x4201
_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE, _EVENT_SECCOMP = 1, 2, 3, 7
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x80 | 0x100000  # sysgood, fork, vfork, clone, seccomp, exitkill
_AT_SYSCALL = signal.SIGTRAP | 0x80
_WALL = 0x40000000
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_void_p] * 4)


def _ptrace(request: int, tid: int, address: int = 0, data: object = None) -> None:
    if _libc.ptrace(request, tid, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _install_filter() -> None:
    """Wake the tracer at the calls of the table; all others run at full speed."""
    load, equal, end = 0x20, 0x15, 0x06
    rules = [(load, 0, 0, 4), (equal, 0, len(SYSCALLS) + 1, 0xC000003E), (load, 0, 0, 0)]
    rules += [(equal, len(SYSCALLS) - k, 0, n) for k, n in enumerate(SYSCALLS)]
    rules += [(end, 0, 0, 0x7FFF0000), (end, 0, 0, 0x7FF00000)]
    packed = b"".join(
        code.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little")
        for code, yes, no, value in rules
    )
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = len(rules).to_bytes(8, "little") + ctypes.addressof(buffer).to_bytes(8, "little")
    for arguments in ((38, 1, 0, 0, 0), (22, 2, program, 0, 0)):
        if _libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "seccomp")


class _Tracer:
    def __init__(
        self,
        scope: Path,
        decide: Decide,
        turns: Sequence[tuple[int, int | None]],
        results: bool,
    ) -> None:
        self.trace = Trace()
        self._scope, self._decide, self._results = str(scope), decide, results
        self._turns = deque([writer, left] for writer, left in turns)
        self._number = 0
        self._writer: dict[int, int] = {}  # of each living thread
        self._process: dict[int, int] = {}
        self._leaders: dict[int, int] = {}  # the process of each writer
        self._early: set[int] = set()  # stopped before they were announced
        self._parked: list[tuple[int, Call]] = []
        self._running: dict[int, Call] = {}
        self._registers = _Registers()
        self._memories: dict[int, int] = {}  # the open memory of each process
        self._null = os.open(os.devnull, os.O_WRONLY)

    def start(self, body: Body) -> None:
        pid = os.fork()
        if pid == 0:
            self._be_traced(body)
        os.waitpid(pid, _WALL)
        writer = len(self._leaders)
        self._writer[pid], self._process[pid], self._leaders[writer] = writer, pid, pid
        _ptrace(_SETOPTIONS, pid, 0, _OPTIONS)
        _ptrace(_CONT, pid)

    def _be_traced(self, body: Body) -> None:
        """In the child; never returns."""
        status = 1
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            _install_filter()
            body(self._report)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _report(self, text: str) -> None:
        """In the child: a write that nobody but the tracer sees."""
        os.write(self._null, text.encode())

    def watch(self) -> None:
        try:
            while self._writer:
                tid, status = os.waitpid(-1, _WALL)
                if os.WIFSTOPPED(status):
                    self._stopped(tid, os.WSTOPSIG(status), status >> 16)
                else:
                    self._ended(tid, os.waitstatus_to_exitcode(status))
        finally:
            for descriptor in (self._null, *self._memories.values()):
                os.close(descriptor)

    def _stopped(self, tid: int, number: int, event: int) -> None:
        if tid not in self._writer:
            self._early.add(tid)
        elif event == _EVENT_SECCOMP:
            self._before(tid)
        elif number == _AT_SYSCALL:
            self._after(tid)
        elif event in (_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE):
            self._announced(tid, event)
            self._resume(tid)
        else:
            # A thread begins with a SIGSTOP that is not meant for it.
            passed = 0 if event or number in (signal.SIGSTOP, signal.SIGTRAP) else number
            self._resume(tid, passed)

    def _announced(self, tid: int, event: int) -> None:
        message = ctypes.c_ulong()
        _ptrace(_GETEVENTMSG, tid, 0, ctypes.addressof(message))
        new = message.value
        self._writer[new] = self._writer[tid]
        self._process[new] = self._process[tid] if event == _EVENT_CLONE else new
        if new in self._early:
            self._early.discard(new)
            self._resume(new)

    def _ended(self, tid: int, code: int) -> None:
        writer = self._writer.pop(tid, None)
        self._process.pop(tid, None)
        if writer is not None and self._leaders[writer] == tid:
            self.trace.ends[writer] = code
            self._unpark()

    def _resume(self, tid: int, number: int = 0, request: int = _CONT) -> None:
        with suppress(ProcessLookupError):  # killed meanwhile; its end is reported
            _ptrace(request, tid, 0, number)

    def _before(self, tid: int) -> None:
        try:
            _ptrace(_GETREGS, tid, 0, ctypes.addressof(self._registers))
            call = self._call(tid)
        except (ProcessLookupError, FileNotFoundError):
            return
        if call is None:
            self._resume(tid)
        elif self._turns and self._turns[0][0] != call.writer:
            self._parked.append((tid, call))
        else:
            self._on_turn(tid, call)

    def _on_turn(self, tid: int, call: Call) -> None:
        if self._turns and self._turns[0][1] is not None:
            if self._turns[0][1] == 0:
                self._turns.popleft()
                self._parked.append((tid, call))
                self._unpark()
                return
            self._turns[0][1] -= 1
        if call.name == "report":
            self.trace.calls.append(call)
            self._resume(tid)
            return
        decision = self._decide(call, self._number)
        self._number += 1
        self.trace.calls.append(call)
        if decision == "go" and not (self._results and call.name not in READING):
            self._resume(tid)
        elif decision == "go":
            self._running[tid] = call
            self._resume(tid, request=_SYSCALL)
        elif isinstance(decision, int):
            call.result = -decision
            self._refuse(tid, decision)
        else:
            victims = [call.writer] if decision == "kill" else list(self._leaders)
            for writer in victims:
                if writer not in self.trace.ends:
                    os.kill(self._leaders[writer], signal.SIGKILL)

    def _unpark(self) -> None:
        """Let those go on whose turn it is now."""
        while self._turns and self._turns[0][0] in self.trace.ends:
            self._turns.popleft()
        turn = self._turns[0][0] if self._turns else None
        ready = [item for item in self._parked if turn in (None, item[1].writer)]
        self._parked = [item for item in self._parked if item not in ready]
        for tid, call in ready:
            self._on_turn(tid, call)

    def _refuse(self, tid: int, code: int) -> None:
        _ptrace(_GETREGS, tid, 0, ctypes.addressof(self._registers))
        self._registers.orig_rax = 2**64 - 1
        self._registers.rax = 2**64 - code
        _ptrace(_SETREGS, tid, 0, ctypes.addressof(self._registers))
        self._resume(tid)

    def _after(self, tid: int) -> None:
        call = self._running.pop(tid)
        try:
            _ptrace(_GETREGS, tid, 0, ctypes.addressof(self._registers))
        except ProcessLookupError:
            return
        call.result = ctypes.c_int64(self._registers.rax).value
        self._resume(tid)

    def _call(self, tid: int) -> Call | None:
        """The call that a thread is about to make; None where it does not concern us."""
        syscall = SYSCALLS[self._registers.orig_rax]
        call = Call(self._writer[tid], syscall.name, arguments=self._registers.arguments)
        if syscall.name == "write":
            call.data = self._memory(tid, *call.arguments[1:3])
        if syscall.name == "write" and call.arguments[0] == self._null:
            call.name = "report"
            return call
        if syscall.fd:
            paths = [self._open_file(tid, call.arguments[0])]
        else:
            paths = [self._path(tid, call.arguments, *where) for where in syscall.paths]
        if not all(map(self._concerns, paths)):
            return None
        if syscall.name == "write":
            with open(f"/proc/{tid}/fdinfo/{call.arguments[0]}", "rb", buffering=0) as info:
                call.offset = int(info.read().split()[1])
        call.path, call.other = (path[len(self._scope) + 1 :] for path in (*paths, "")[:2])
        return call

    def _concerns(self, path: str) -> bool:
        return path == self._scope or path.startswith(self._scope + "/")

    def _open_file(self, tid: int, number: int) -> str:
        try:
            target = os.readlink(f"/proc/{tid}/fd/{number}")  # noqa: PTH115 - a Path costs as much
        except OSError:
            return ""
        return target.removesuffix(" (deleted)")

    def _path(self, tid: int, arguments: tuple[int, ...], folder: int | None, path: int) -> str:
        name = self._string(tid, arguments[path])
        if name.startswith("/"):
            return name.rstrip("/")
        number = _AT_FDCWD if folder is None else ctypes.c_int(arguments[folder]).value
        if number == _AT_FDCWD:
            return str(Path(f"/proc/{tid}/cwd").readlink() / name)
        return f"{self._open_file(tid, number)}/{name}".rstrip("/")

    def _string(self, tid: int, address: int) -> str:
        found = b""
        while b"\0" not in found:
            at = address + len(found)
            found += self._memory(tid, at, 4096 - at % 4096)
        return os.fsdecode(found[: found.index(b"\0")])

    def _memory(self, tid: int, address: int, size: int) -> bytes:
        process = self._process[tid]
        if process not in self._memories:
            self._memories[process] = os.open(f"/proc/{process}/mem", os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._memories[process], size, address)
