"""Finished runs before and after refinement: AP, AP50 and AP75 by stages and seed.

    python benchmarks/refining.py RUN... TRAIN VAL --out KEPT --stages 1,2 --seeds 0,1,2 --steps 500

TRAIN and VAL are the caches of the runs, whose folders have different names. Each refiner has the settings of
its run, and takes about so many steps. It is evaluated once, at its end, so that no evaluation is chosen.
Refiners are kept under KEPT and resumed from there; KEPT/results.csv is written as results come, and its rows
are not measured again. Stage 0 is the run itself.
"""

import argparse
import csv
from pathlib import Path

from kept import trained

from fdet.cache.format.header import CacheHeader
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.info import RunInfo

NAMES = ("ap", "ap50", "ap75")
COLUMNS = ("run", "stages", "seed", "steps", *NAMES)
# A run's name, the stages and the seed; the run itself has no seed of its own here.
Key = tuple[str, str, str]


def main() -> None:
    arguments = parse()
    path = arguments.out / "results.csv"
    rows = read(path)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in ("", *arguments.seeds):
        for run in arguments.runs:
            for stages in arguments.stages if seed else ("0",):
                if (key := (run.name, stages, seed)) not in rows:
                    rows[key] = (
                        refined(arguments, run, stages, seed) if seed else before(arguments, run)
                    )
                    write(path, rows)
    print("| run | stages | AP | AP50 | AP75 |", "|---|---|---|---|---|", sep="\n")
    for run, stages in dict.fromkeys(key[:2] for key in rows):
        of_seeds = [values for key, values in rows.items() if key[:2] == (run, stages)]
        means = (sum(float(v[k]) for v in of_seeds) / len(of_seeds) for k in (1, 2, 3))
        print(f"| {run} | {stages} |", " | ".join(f"{mean:.1f}" for mean in means), "|")


def before(arguments: argparse.Namespace, run: Path) -> list[str]:
    """Evaluate a run as it is."""
    options = EvaluateOptions(device=arguments.device, threads=arguments.threads)
    metrics, _ = evaluate_run(run, arguments.val, options)
    return ["0", *figures(metrics.to_json())]


def refined(arguments: argparse.Namespace, run: Path, stages: str, seed: str) -> list[str]:
    """Train a refiner of a run."""
    images = len(CacheHeader.read(arguments.train).layout.images)
    size = RunInfo.read(run).config.train.batch_size
    epochs = max(1, round(arguments.steps * size / images))
    values = {
        **{"head.refine": stages, "train.epochs": epochs, "train.patience": 0},
        **{"optim.name": "adamw", "optim.lr": arguments.lr},
    }
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    words += ["--start", run, "--threads", arguments.threads, "--device", arguments.device]
    out = arguments.out / "runs" / f"{run.name}-{stages}-{seed}"
    config = str(run / "config.toml")
    trained(out, arguments.train, arguments.val, config, int(seed), *words, every=epochs)
    lines = list(metrics_log.read(out))
    metrics = [line["metrics"] for line in lines if line["kind"] == "eval"][-1]
    return [str(lines[-1]["step"]), *figures(metrics)]


def figures(metrics: dict) -> list[str]:
    """Return the three APs in points."""
    return [f"{100 * (metrics[name] or 0.0):.2f}" for name in NAMES]


def read(path: Path) -> dict[Key, list[str]]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    return {tuple(row[:3]): row[3:] for row in rows}


def write(path: Path, rows: dict[Key, list[str]]) -> None:
    with path.open("w", newline="") as file:
        table = ((*key, *values) for key, values in rows.items())
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *table])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    for name in ("train", "val"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in (("--stages", "1,2"), ("--seeds", "0,1,2")):
        parser.add_argument(name, type=lambda text: text.split(","), default=default.split(","))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lr", default="auto", help="peak rate; default: auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
