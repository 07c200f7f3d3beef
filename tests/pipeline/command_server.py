"""`fdet` commands, each in a fork of one process that has imported everything: no import a command.

A command may name the moment at which it is killed: the n-th call of one kind on a path, e.g. the
second `os.link` to a record. Python's audit hook is told of the call before the call is made, so
nothing has to be waited for.
"""

import importlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn


class Moment(NamedTuple):
    """Before the n-th call of this kind ("open", "os.link", "os.remove") on a path like this one."""

    call: str
    path: str
    nth: int = 1


class Commands:
    """Runs commands until it is closed. python: what starts its server."""

    def __init__(self, python: str | Path = sys.executable) -> None:
        environment = {n: v for n, v in os.environ.items() if n not in _LAUNCHERS}
        self._server = subprocess.Popen(
            [str(python), str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )

    def close(self) -> None:
        """Kills what is still running."""
        self._server.communicate()

    def start(
        self,
        words: Sequence[object],
        kill: Moment | None = None,
        slow: float = 0.0,
        errors: Path | None = None,
        limit: int = 0,
        **variables: str,
    ) -> int:
        """The process id of a command that runs from now on.

        slow: seconds that each sample more takes to be written. errors: where its stderr goes.
        limit: bytes that no file that it writes may have more of, 0 for any.
        """
        return self._ask(
            words=[str(w) for w in words],
            kill=kill,
            slow=slow,
            errors=str(errors or ""),
            limit=limit,
            variables=variables,
        )

    def ended(self, process: int) -> int | None:
        """Its exit status once it has ended, without waiting; minus the signal where one ended it."""
        status = self._ask(wait=process, options=os.WNOHANG)
        return None if status == RUNNING else status

    def wait(self, process: int) -> int:
        """Its exit status; minus the signal where one ended it."""
        return self._ask(wait=process)

    def run(self, words: Sequence[object], kill: Moment | None = None, **more: Any) -> int:
        return self.wait(self.start(words, kill, **more))

    def _ask(self, **request: object) -> int:
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline())


HEAVY = (
    *("zarr", "h5py", "hdf5plugin", "timm", "pydantic.fields", "torch.utils.flop_counter"),
    *("fdet.pipeline.extraction.extract", "fdet.pipeline.training.train"),
)
RUNNING = 1000
_LAUNCHERS = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}


def killing(moment: Moment):
    """An audit hook that kills this process at a moment."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event != moment.call:
            return
        path = arguments[1] if event == "os.link" else arguments[0]
        if isinstance(path, str | os.PathLike) and re.search(moment.path, os.fspath(path)):
            seen += 1
            if seen == moment.nth:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def slow_down(seconds: float) -> None:
    """Each sample takes longer to be written."""
    from fdet.cache.writer import ShardWriter

    add = ShardWriter.add_frames

    def slow(self, *arguments):
        time.sleep(seconds)
        add(self, *arguments)

    ShardWriter.add_frames = slow


def run(
    words: Sequence[str],
    kill: Sequence | None,
    slow: float,
    errors: str,
    limit: int,
    variables: dict[str, str],
) -> NoReturn:
    """One command, in a process of its own."""
    from fdet.__main__ import main

    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    if errors:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    if slow:
        slow_down(slow)
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os.environ.update(variables)
    if kill:
        sys.addaudithook(killing(Moment(*kill)))
    sys.argv = ["fdet", *words]
    try:
        main()
    except SystemExit as end:
        # Taking torch apart would take longer than the command.
        os._exit(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def serve() -> None:
    """Answers each line on the standard input with a number."""
    from fdet.pipeline.machines.interrupt import INTERRUPTED

    for module in HEAVY:
        importlib.import_module(module)
    # For a command that is interrupted before it has begun. It may not be ignored, as it is by a shell's
    # background jobs: the command would ignore it too.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    running = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            process, status = os.waitpid(request["wait"], request.get("options", 0))
            running.discard(process)
            print(os.waitstatus_to_exitcode(status) if process else RUNNING, flush=True)
            continue
        process = os.fork()
        if process == 0:
            run(**request)
        running.add(process)
        print(process, flush=True)
    for process in running:
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    serve()
