"""Every preset for small machines on one pair of caches: AP, trained share, seconds and memory of a step.

    python benchmarks/presets.py TRAIN VAL --out RUNS

Each run is kept under RUNS, and resumed where it was interrupted. Seconds and memory are those of a few
steps afterwards, each preset in a separate process: nothing else should run at the same time.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from kept import trained
from steps import Training

from fdet.cache.format.header import CacheHeader
from fdet.pipeline.machines.devices import keep_freed_memory, process_memory_mb, use_threads
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.presets import preset_names
from fdet.pipeline.tools.capacity.measure import measure


def main() -> None:
    arguments = parse()
    if arguments.step:
        print(json.dumps(step(arguments)))
        return
    names = arguments.presets.split(",")
    for name in names:
        train(name, arguments)
    print("| preset | AP | AP50 | trained | share | s a step | peak, MiB |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        print(row(name, arguments), flush=True)


def train(name: str, arguments: argparse.Namespace) -> None:
    out = arguments.out / name
    words = ["--threads", arguments.threads]
    words += ["--set", f"train.epochs={arguments.epochs}"] if arguments.epochs else []
    trained(out, arguments.train, arguments.val, name, arguments.seed, *words)


def row(name: str, arguments: argparse.Namespace) -> str:
    run = arguments.out / name
    evals = [x["metrics"] for x in metrics_log.read(run) if x["kind"] == "eval"]
    best = max(evals, key=lambda metrics: metrics["ap"] or 0.0)
    header = CacheHeader.read(arguments.train)
    found = measure(load_config(Path(name)), header, len(RunInfo.read(run).class_ids))
    own = sum(part.parameters for part in found.parts if part.trained)
    figures = step_apart(name)
    return (
        f"| `{name}` | {best['ap']:.3f} | {best['ap50']:.3f} | {own / 1e6:.2f} M | "
        f"{found.trained_share:.0%} | {figures['seconds']:.2f} | {figures['peak']:.0f} |"
    )


def step_apart(name: str) -> dict[str, float]:
    """Return the result of `step` from a separate process."""
    command = [sys.executable, *sys.argv, "--step", name]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def step(arguments: argparse.Namespace) -> dict[str, float]:
    """Return the seconds of a cached training step, and the peak memory of its process in MiB."""
    keep_freed_memory()
    use_threads(None)
    config = load_config(Path(arguments.step))
    training = Training("cached", arguments.train, Path(), config)
    count = arguments.steps + config.train.prefetch
    seconds = training.seconds(training.batches(count), arguments.steps)
    return {"seconds": seconds, "peak": process_memory_mb()}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    small = [name for name in preset_names() if name.endswith("-s")]
    parser.add_argument("train", type=Path, help="cache to train on")
    parser.add_argument("val", type=Path, help="cache to validate on")
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--presets", default=",".join(small))
    parser.add_argument("--epochs", type=int, help="of the training runs; default: the preset's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of the training runs")
    parser.add_argument("--steps", type=int, default=8, help="measured, of each preset")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
