"""Heads that begin with the weights of a run on other data, against fresh ones: AP by number of images.

    python benchmarks/moving.py TRAIN VAL RUN --out KEPT --fractions 0.1,0.3,1 --steps 200

TRAIN and VAL are caches, and RUN is a run of the same neck and head on other data. All heads take about the
same number of steps, on as many images as `train.fraction` leaves. Runs are kept under KEPT and resumed from
there; the results are in KEPT/results.csv.
"""

import argparse
import csv
from pathlib import Path

from kept import trained

from fdet.cache.format.header import CacheHeader
from fdet.pipeline.runs import metrics_log

COLUMNS = ("label", "seed", "images", "steps", "ap", "ap50")


def main() -> None:
    arguments = parse()
    images = len(CacheHeader.read(arguments.train).layout.images)
    rows = [
        row_of(arguments, fraction, round(fraction * images), moved, seed)
        for seed in arguments.seeds
        for fraction in arguments.fractions
        for moved in (False, True)
    ]
    with (arguments.out / "results.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    print("| images | fresh AP | moved AP |", "|---|---|---|", sep="\n")
    for count in sorted({row[2] for row in rows}):
        means = [mean(r[4] for r in rows if r[2] == count and r[0] == label) for label in LABELS]
        print(f"| {count} | {means[0]:.1f} | {means[1]:.1f} |")


LABELS = ("fresh", "moved")


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def row_of(arguments, fraction: float, images: int, moved: bool, seed: int) -> tuple:
    """Train one head, and return its row of the results."""
    label = LABELS[moved]
    epochs = max(1, round(arguments.steps * arguments.batch / images))
    words = ["--set", f"train.epochs={epochs}", "--set", f"train.fraction={fraction}"]
    words += ["--set", f"train.batch_size={arguments.batch}", "--threads", arguments.threads]
    if moved:
        words += ["--start", arguments.run]
    out = arguments.out / "runs" / f"{label}-{fraction:g}-{seed}"
    run = trained(out, arguments.train, arguments.val, arguments.config, seed, *words, every=epochs)
    lines = list(metrics_log.read(run))
    metrics = [line["metrics"] for line in lines if line["kind"] == "eval"][-1]
    aps = (round(100 * (metrics[name] or 0.0), 2) for name in ("ap", "ap50"))
    return (label, seed, images, lines[-1]["step"], *aps)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("train", "val", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--fractions", type=lambda text: [*map(float, text.split(","))], default=[1]
    )
    parser.add_argument(
        "--seeds", type=lambda text: [*map(int, text.split(","))], default=[0, 1, 2]
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--config", help="settings; default: the defaults")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
