"""Several processes that train together, started as torchrun starts them, or srun.

Run as a program it is one of them: it trains the runs of a JSON file, one after the other, and notes
which files below a folder it opened for writing.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path


def start(
    words: list[object],
    size: int = 2,
    launcher: str = "torchrun",
    python: str | Path = sys.executable,
) -> list[subprocess.Popen]:
    """One process a rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared, own = LAUNCHERS[launcher](size, port)
    started = []
    for rank in range(size):
        told = {n: str(v) for n, v in {**shared, **dict.fromkeys(own, rank)}.items()}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [str(python), *map(str, words)]
        started.append(subprocess.Popen(command, env={**os.environ, **told}, **pipes))
    return started


def torchrun(size: int, port: int) -> tuple[dict[str, object], tuple[str, ...]]:
    """Its variables, and those that hold the rank."""
    shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    shared |= {"MASTER_ADDR": "127.0.0.1", "GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "none"}
    return shared, ("RANK", "LOCAL_RANK")


def srun(size: int, port: int) -> tuple[dict[str, object], tuple[str, ...]]:
    """`salloc`, which allows four tasks on a node, and then a smaller `srun --ntasks` in its shell."""
    allocation = {"SLURM_JOB_NAME": "interactive", "SLURM_JOB_ID": port, "SLURM_NTASKS": size}
    allocation |= {"SLURM_NTASKS_PER_NODE": 4, "SLURM_NODELIST": "far[1-9]", "SLURM_NNODES": 1}
    step = {"SLURM_STEP_NUM_TASKS": size, "SLURM_STEP_TASKS_PER_NODE": size, "SLURM_STEP_ID": 0}
    step |= {"SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NODEID": 0}
    return {**allocation, **step}, ("SLURM_PROCID", "SLURM_LOCALID")


LAUNCHERS = {"torchrun": torchrun, "srun": srun}


def finish(processes: list[subprocess.Popen], seconds: float = 240) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each; none is left behind."""
    try:
        return [(*p.communicate(timeout=seconds), p.returncode)[::-1] for p in processes]
    finally:
        for process in processes:
            process.kill()


def digest(tensors: dict) -> str:
    """Of all bits of weights and buffers."""
    found = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        found.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def main(jobs: Path, folder: Path) -> None:
    from fdet.cache.disk.objects import located
    from fdet.pipeline.runs.config import load_config
    from fdet.pipeline.training import train as train_module
    from fdet.pipeline.training.options import TrainOptions
    from fdet.pipeline.training.train import begin, train

    steppers = []

    def begun(*arguments: object) -> tuple:
        stepper, position = begin(*arguments)
        steppers.append(stepper)
        return stepper, position

    train_module.begin = begun
    written: set[str] = set()

    def note(event: str, arguments: tuple) -> None:
        writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writing and str(arguments[0]).startswith(f"{folder}/runs/"):
            written.add(str(arguments[0]))

    sys.addaudithook(note)
    report = {}
    for name, job in json.loads(jobs.read_text()).items():
        events = []
        paths = {n: located(v) for n, v in job["paths"].items()}
        options = TrainOptions(
            **paths, **job["options"], threads=1, device="cpu", hooks=[events.append]
        )
        config = load_config(head=job["head"], assignments=job["settings"])
        summary = train(config, options)
        report[name] = {
            "metrics": summary.metrics.to_json() if summary.metrics else None,
            "best_epoch": summary.best_epoch,
            "skipped": summary.skipped,
            "events": len(events),
            "weights": digest(steppers[-1].model.tensors()),
        }
    report["written"] = sorted(written)
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
