"""K heads from one read against K heads one after the other, and in parallel processes.

    python benchmarks/together.py CACHE --heads 4 --threads 2

The figures are the wall time of one epoch of K runs that share cache, views, order and batch, with nothing
kept in memory (--resident none), over rounds in which the ways take turns. Starting processes is not
counted.
"""

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import torch

from fdet.cache.disk.objects import located
from fdet.pipeline.machines.devices import keep_freed_memory
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.together import train_together
from fdet.pipeline.training.train import train

SIZES = {
    "tiny": ("neck.channels=16", "head.convs=1"),
    "small": ("neck.channels=64", "head.convs=2"),
}
COMMON = ("neck.max_level=6", "train.epochs=1", "train.batch_size=4")


def main() -> None:
    arguments = parse()
    keep_freed_memory()
    jobs = min(arguments.heads, arguments.threads)
    context = multiprocessing.get_context("spawn")
    print(
        "| head | together / alone | processes / alone | s alone |", "|---|---|---|---|", sep="\n"
    )
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,)) as pool:
        for size in SIZES:
            ways = {"alone": alone, "together": together, "processes": lambda r: apart(r, pool)}
            times = {way: [] for way in ways}
            for number in range(arguments.rounds + 1):
                for way, run in ways.items():
                    with tempfile.TemporaryDirectory() as folder:
                        runs = runs_of(size, arguments, Path(folder), way == "processes")
                        started = time.perf_counter()
                        run(runs)
                        if number:  # the first warms up
                            times[way].append(time.perf_counter() - started)
            pairs = {
                way: [t / a for t, a in zip(times[way], times["alone"], strict=True)]
                for way in ("together", "processes")
            }
            shown = [f"{median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in pairs.values()]
            print(f"| {size} | {' | '.join(shown)} | {median(times['alone']):.1f} |", flush=True)


def runs_of(size: str, arguments: argparse.Namespace, out: Path, parallel: bool):
    threads = 1 if parallel else arguments.threads
    for k in range(arguments.heads):
        config = load_config(assignments=[*COMMON, *SIZES[size], f"optim.lr={1e-4 * (k + 1)}"])
        yield (
            config,
            TrainOptions(cache=arguments.cache, out=out / str(k), threads=threads, resident="none"),
        )


def alone(runs) -> None:
    for run in runs:
        train(*run)


def together(runs) -> None:
    train_together(list(runs))


def apart(runs, pool: ProcessPoolExecutor) -> None:
    for done in [pool.submit(train, *run) for run in runs]:
        done.result()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=located)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
