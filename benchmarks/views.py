"""Few views in many bits or many views in few bits: heads trained on caches of about the same size.

    python benchmarks/views.py DATA --out KEPT --short 240 --long 320

DATA has train.json, val.json and images/. Every head takes the same number of steps; an epoch takes one
view of each image. All are validated on the same exact maps. Everything is kept under KEPT and resumed from
there.
"""

import argparse
from pathlib import Path

import numpy as np
from kept import extracted, megabytes, trained

from fdet.pipeline.runs import metrics_log

JITTER = "scale=0.7..1.4"
# (codec, views): the first four need about as many bytes as one view in fp16, or fewer.
CHOICES = {
    ("fp16", 1): "plain",
    ("int8", 2): "plain,hflip",
    ("int5", 4): f"plain,hflip,{JITTER},hflip+{JITTER}",
    ("int4", 7): f"plain,hflip,{JITTER}x3,hflip+{JITTER}x2",
    ("int4", 1): "plain",
}


def main() -> None:
    arguments = parse()
    print("| codec | views | training cache, MB | AP |", "|---|---|---|---|", sep="\n")
    val = cache("val", "fp32", 1, "plain", arguments)
    for codec, count in arguments.choices:
        views = CHOICES[codec, count]
        train = cache("train", codec, count, views, arguments)
        aps = [
            ap(train, val, f"{codec}-{count}-{seed}", seed, arguments) for seed in arguments.seeds
        ]
        shown = f"{np.mean(aps):.1f} ({min(aps):.1f} to {max(aps):.1f})"
        print(f"| `{codec}` | {count} | {megabytes(train):.1f} | {shown} |", flush=True)


def cache(part: str, codec: str, count: int, views: str, arguments: argparse.Namespace) -> Path:
    data = arguments.data
    out = arguments.out / f"{part}-{codec}-{count}.fdet"
    words = ["--codec", codec, "--views", views, "--threads", arguments.threads]
    words += ["--short", arguments.short, "--long", arguments.long]
    return extracted(out, data / f"{part}.json", data / "images", *words)


def ap(train: Path, val: Path, name: str, seed: int, arguments: argparse.Namespace) -> float:
    words = ["--set", f"train.epochs={arguments.epochs}", "--threads", arguments.threads]
    out = arguments.out / "runs" / name
    run = trained(out, train, val, arguments.config, seed, *words)
    evaluations = [x["metrics"]["ap"] for x in metrics_log.read(run) if x["kind"] == "eval"]
    return 100 * max(found or 0.0 for found in evaluations)


def parse_choices(text: str) -> list[tuple[str, int]]:
    named = {f"{codec}-{count}": (codec, count) for codec, count in CHOICES}
    return [named[name] for name in text.split(",")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with train.json, val.json, images/")
    parser.add_argument("--out", type=Path, required=True, help="where caches and runs are kept")
    parser.add_argument("--short", type=int, default=240)
    parser.add_argument("--long", type=int, default=320)
    parser.add_argument(
        "--config", default="retinanet-fpn-s", help="preset or TOML file of the heads"
    )
    parser.add_argument(
        "--choices", type=parse_choices, default=list(CHOICES), help="e.g. int8-2,int4-1"
    )
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=lambda s: [int(k) for k in s.split(",")], default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
