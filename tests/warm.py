"""A `python` and an `fdet` that need no time to start: what they run is a fork of one process.

That process has imported everything. `Warm` makes a folder with both programs, for PATH and in place of
`sys.executable`. Arguments, environment, folder, standard streams and exit status are those of the
program; SIGINT and SIGTERM are passed on to the fork, and it is killed where the program is. Whatever is
neither a module of fdet nor a script outside the installation is run by the interpreter itself.

A module that a command forgets to import goes unnoticed here: what a script or a command needs at its
start is shown by processes of their own (tests/pipeline/test_cli.py, test_before_torch.py and
tools/fitting/test_end_to_end.py).
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

PASSED_ON = {signal.SIGINT, signal.SIGTERM}


class Warm:
    """The programs, until it is closed; what they still run is then killed."""

    def __init__(self, folder: Path) -> None:
        import subprocess

        self.python, self.fdet = folder / "python", folder / "fdet"
        for path, words in ((self.python, ""), (self.fdet, "'-m', 'fdet', ")):
            path.write_text(_PROGRAM.format(sys.executable, str(Path(__file__).parent), words))
            path.chmod(0o755)
        # torch's compiler would start processes that import torch anew.
        single = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
        environment = {**os.environ, **dict.fromkeys(single, "1")}
        self._server = subprocess.Popen(
            [sys.executable, __file__, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._server.stdout.readline(), "the server has not started"

    def close(self) -> None:
        self._server.communicate()


_PROGRAM = """#!{0} -IS
import sys
sys.path.insert(0, {1!r})
from warm import ask
ask({0!r}, __file__, [{2}*sys.argv[1:]])
"""


def ask(interpreter: str, program: str, words: list[str]) -> None:
    """Be the program: have the server run the words, and end as they do."""
    names = words[1:] if words[:1] == ["-P"] else words
    script = names[:1] and names[0].endswith(".py") and "site-packages" not in names[0]
    module = names[:1] == ["-m"] and names[1].partition(".")[0] == "fdet"
    if not module and not script:
        os.execv(interpreter, [interpreter, *words])
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    request = {"words": names, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    raw = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(str(Path(program).with_name("socket")))
        socket.send_fds(server, [len(raw).to_bytes(4)], [0, 1, 2])
        server.sendall(raw)
        for number in PASSED_ON:
            signal.signal(number, lambda sent, frame: server.sendall(bytes([sent])))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        status = int.from_bytes(server.recv(2), signed=True)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def serve(folder: Path) -> None:
    """Fork for each request, and tell each program how its fork has ended."""
    import gc
    import importlib
    import selectors

    from fdet.tests.pipeline.command_server import HEAVY

    for module in (*HEAVY, *MORE):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that the forks share it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    running: dict[socket.socket, int] = {}
    with socket.socket(socket.AF_UNIX) as asked, selectors.DefaultSelector() as waiting:
        asked.bind(str(folder / "socket"))
        asked.listen(64)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        waiting.register(asked, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is sys.stdin:
                    for process in running.values():
                        os.kill(process, signal.SIGKILL)
                    return
                if key.fileobj is asked:
                    program, _ = asked.accept()
                    if process := _forked(program, folder / "python"):
                        running[program] = process
                        waiting.register(program, selectors.EVENT_READ)
                        waiting.register(os.pidfd_open(process), selectors.EVENT_READ, program)
                elif key.data is not None:
                    _, status = os.waitpid(running.pop(key.data), 0)
                    waiting.unregister(key.fileobj)
                    os.close(key.fileobj)
                    if key.data.fileno() in waiting.get_map():
                        waiting.unregister(key.data)
                    with key.data, suppress(OSError):  # the program was killed
                        key.data.sendall(os.waitstatus_to_exitcode(status).to_bytes(2, signed=True))
                elif key.fileobj in running:
                    sent = key.fileobj.recv(1)
                    if not sent:
                        waiting.unregister(key.fileobj)
                    os.kill(running[key.fileobj], sent[0] if sent else signal.SIGKILL)


MORE = ("torch._dynamo", "torch.optim", "matplotlib.figure", "pycocotools.mask", "torchvision")


def _forked(program: socket.socket, python: Path) -> int:
    """The process id of a fork that does what the program asks for; 0 where it was killed before."""
    head, streams, _, _ = socket.recv_fds(program, 4, 3)
    raw, part = b"", b"."
    while part and len(raw) < int.from_bytes(head):
        part = program.recv(int.from_bytes(head) - len(raw))
        raw += part
    process = os.fork() if part and streams else 0
    if process == 0 and part and streams:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, 2**16)
        _run(**json.loads(raw), python=python)
    for stream in streams:
        os.close(stream)
    return process


def _run(words: list[str], folder: str, environment: dict[str, str], python: Path) -> None:
    """Run the words in this process, and end it as the interpreter would."""
    import atexit
    import runpy
    import threading
    import traceback

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = str(python)
    status: object = 0
    try:
        if words[:2] == ["-m", "fdet"]:
            from fdet.__main__ import main

            sys.argv = ["fdet", *words[2:]]
            main()
        elif words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        status = end.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking torch apart would take longer than most commands.
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
