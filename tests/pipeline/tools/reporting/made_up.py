"""Run directories that nobody trained: written as training writes them, in a moment."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fdet.cache.key import CacheKey
from fdet.cache.pyramid import LevelSpec, PyramidSpec
from fdet.pipeline.runs.checkpoint import save_weights
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.position import Position

CLASSES = ("cell", "dish")


def key(**changes) -> CacheKey:
    versions = dict.fromkeys(("torch", "torchvision", "timm", "pillow", "numpy"), "1.0")
    values = {
        "backbone": "test_resnet",
        "weights_sha256": "ab" * 32,
        "weights_origin": "random",
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "short": 64,
        "long": 64,
        "square": True,
        "divisor": 32,
        "interpolation": "pillow-bilinear-antialias",
        "levels": PyramidSpec((LevelSpec("c2", 4, 16), LevelSpec("c3", 8, 32))),
        "precision": "fp32",
        "codec": "fp16",
        "views": ("plain",),
        "seed": 0,
        "batch_size": 1,
        "threads": 1,
        "device": "cpu",
        **versions,
    }
    return CacheKey(**{**values, **changes})


def write_run(
    folder: Path,
    ap: float = 0.4,
    *,
    seed: int = 0,
    settings=(),
    source: str = "cached",
    classes=CLASSES,
    epochs: int = 3,
    reached: int | None = None,
    seconds: float = 10.0,
    memory: int = 800,
    errors=None,
    **of_key,
) -> Path:
    """ap: of its best and last epoch; reached: the epoch that it has finished, None for all of them;
    errors: AP50 lost by kind, as `fdet evaluate` leaves it.
    """
    words = ["neck.channels=16", "neck.max_level=5", "optim.lr=0.0005"]
    words += [f"train.epochs={epochs}", f"train.seed={seed}"]
    config = load_config(head="retinanet", assignments=[*words, *settings])
    data = {
        "source": source,
        "training data": f"{key(**of_key).codec:0>64} {'b' * 64}",
        "validation data": f"{'c' * 64} {'d' * 64}",
        "start": "fresh weights",
    }
    ids = tuple(range(1, len(classes) + 1))
    info = RunInfo(key(**of_key), ids, tuple(classes), config, 1_000_000, data, ("f",) * len(ids))
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(info.to_bytes())
    (folder / "config.toml").write_text(config.to_toml())
    done = epochs if reached is None else reached
    lines = [
        line
        for epoch in range(1, done + 1)
        for line in epoch_lines(epoch, done, ap, seconds, memory, classes)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    save_weights(folder / "best.safetensors", {}, {}, info.digest)
    position = Position(10 * done, ap, done, finished=reached is None)
    save_weights(folder / "last.safetensors", {}, asdict(position), info.digest)
    if errors is not None:
        gains = {"ap50": ap, "counts": {}, "gains": errors}
        (folder / "evaluation-val.json").write_text(json.dumps({"ap": ap, "errors": gains}))
    return folder


def epoch_lines(epoch, epochs, ap, seconds, memory, classes):
    """A line of training and one of evaluation; AP rises to its end."""
    share = epoch / epochs
    yield {
        **{"kind": "train", "step": 10 * epoch, "epoch": epoch, "lr": 1e-3, "loss": 2 - share},
        **{"losses": {"box": 1.0}, "seconds": seconds / epochs, "images_per_second": 30.0},
        **{"waiting": 0.1, "process_memory_mb": memory},
    }
    now = ap * share
    figures = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    figures += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
    metrics = dict(zip(figures, np.linspace(now, min(1, 1.4 * now), 12).tolist(), strict=True))
    per_class = {name: now * (1 - 0.1 * k) for k, name in enumerate(classes)}
    yield {
        **{"kind": "eval", "step": 10 * epoch, "epoch": epoch},
        "metrics": {**metrics, "per_class": per_class, "images": 9},
    }


HEADS = {"retinanet": (0.40, 20.0), "fcos": (0.42, 25.0), "faster-rcnn": (0.46, 60.0)}
CODECS = {"fp16": 0.0, "int8": 0.001, "int4": -0.03}


def write_grid(folder: Path) -> Path:
    """Three heads, codecs and seeds; int8 differs from fp16 by chance alone, int4 is worse."""
    rng = np.random.default_rng(0)
    kinds = ("classification", "localisation", "both", "duplicate", "background", "missed")
    for head, (ap, seconds) in HEADS.items():
        for codec, change in CODECS.items():
            for seed in range(3):
                lost = dict(zip(kinds, rng.uniform(0, 0.1, 6).tolist(), strict=True))
                write_run(
                    folder / "runs" / f"{head}-{codec}-{seed}",
                    ap + change + 0.01 * seed + float(rng.normal(0, 0.004)),
                    seed=seed,
                    settings=[f"head.name={head}"],
                    seconds=seconds + float(rng.normal(0, 1)),
                    memory=round(600 + 10 * seconds),
                    errors=lost,
                    codec=codec,
                )
    return folder
