"""Peak memory and time of a training step: cached, on a tail, with the backbone in the loop, and fine-tuned.

    python benchmarks/memory.py --backbones tf_efficientnet_lite0,resnet50,tf_efficientnet_b7

The rows tail, adapters and frozen are of a tail from --train-from on, on a cache of the levels before it;
behind is of the same stages fine-tuned with the backbone in the loop. The images are generated and the
weights are random: they take the same memory and time as trained ones. Each figure comes from a separate
process; `memory` is the head's step on maps that are already in memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from steps import MODES, TAIL, Training

from fdet.pipeline.backbones.tail import levels_before_tail
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.extraction.options import ExtractConfig
from fdet.pipeline.machines.devices import keep_freed_memory, process_memory_mb
from fdet.pipeline.runs.config import load_config

# The rows with stages from --train-from on: the mode of the training, and its settings.
PARTIAL = {
    "tail": (TAIL, ()),
    "adapters": (TAIL, ("backbone.adapters=true",)),
    "frozen": (TAIL, ("backbone.frozen_tail=true",)),
    "behind": ("finetune", ()),
}


def main() -> None:
    arguments = parse()
    if arguments.mode:
        print(json.dumps(measured(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        annotations = make_images(Path(folder), arguments.batch_size, arguments.side)
        for name in arguments.backbones.split(","):
            modes = arguments.modes.split(",")
            whole = extracted(Path(folder), name, annotations, arguments.side)
            short = whole
            if any(PARTIAL.get(mode, ("",))[0] == TAIL for mode in modes):
                sides = arguments.side, arguments.side
                levels, _ = levels_before_tail(name, None, arguments.train_from, sides, True)
                short = extracted(Path(folder), name, annotations, arguments.side, ",".join(levels))
            caches = {m: short if PARTIAL.get(m, ("",))[0] == TAIL else whole for m in modes}
            show(name, {mode: apart(mode, caches[mode], annotations) for mode in modes})


def extracted(
    folder: Path, name: str, annotations: Path, side: int, levels: str | None = None
) -> Path:
    """Make a cache of the usual levels, or of these, and return its path."""
    out = folder / f"{name}-{levels or 'usual'}.fdet"
    extract(
        ExtractConfig(
            annotations=annotations,
            images=annotations.parent / "images",
            out=out,
            backbone=name,
            weights="random",
            size=side,
            levels=levels,
            codec="fp16",
            device="cpu",
        )
    )
    return out


def show(name: str, figures: dict[str, dict[str, float]]) -> None:
    cached = figures["cached"]
    for mode, own in figures.items():
        above, other = own["peak"] - own["bare"], cached["peak"] - cached["bare"]
        print(
            f"{name:<22} {mode:<9} peak {own['peak']:6.0f} MiB ({own['peak'] / cached['peak']:5.2f} x "
            f"cached), above the bare process {above:6.0f} ({above / other:5.2f} x), "
            f"{own['seconds']:6.2f} s a step ({own['seconds'] / cached['seconds']:5.2f} x)",
            flush=True,
        )


def apart(mode: str, cache: Path, annotations: Path) -> dict[str, float]:
    """Return the result of `measured` from a separate process."""
    own = ["--mode", mode, "--cache", str(cache), "--images", str(annotations.parent / "images")]
    command = [sys.executable, *sys.argv, *own]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measured(arguments: argparse.Namespace) -> dict[str, float]:
    """Return the MiB of the process before there is a model and at its peak, and the seconds of a step."""
    keep_freed_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    bare = process_memory_mb()
    settings = [f"neck.channels={arguments.channels}", f"train.batch_size={arguments.batch_size}"]
    mode, more = PARTIAL.get(arguments.mode, (arguments.mode, ()))
    if arguments.mode in PARTIAL:
        settings += [f"backbone.train_from={arguments.train_from}", *more]
    config = load_config(head=arguments.head, assignments=settings)
    training = Training(mode, arguments.cache, arguments.images, config)
    # There are enough batches for the queue of those read ahead to be full up to the last step.
    count = arguments.steps + config.train.prefetch
    batches = training.batches(count)
    if arguments.mode == "memory":
        batches = training.held(1) * count
    seconds = training.seconds(batches, arguments.steps)
    return {"bare": bare, "peak": process_memory_mb(), "seconds": seconds}


def make_images(folder: Path, count: int, side: int) -> Path:
    """Write images of noise with six boxes each, and return the path of their annotations."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    images, boxes = [], []
    for k in range(count):
        pixels = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{k}.png", compress_level=1)
        images.append({"id": k, "file_name": f"{k}.png", "width": side, "height": side})
        for x, y in rng.integers(0, side // 2, (6, 2)).tolist():
            box = [x, y, side // 4, side // 5]
            common = {"category_id": 1 + len(boxes) % 3, "iscrowd": 0, "area": box[2] * box[3]}
            boxes.append({"id": len(boxes) + 1, "image_id": k, "bbox": box, **common})
    kinds = [{"id": k, "name": f"kind {k}"} for k in (1, 2, 3)]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": kinds}))
    return path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", default="tf_efficientnet_lite0,resnet50,tf_efficientnet_b7")
    known = ",".join([*MODES, *PARTIAL])
    parser.add_argument("--modes", default=known, help="cached must be among them")
    parser.add_argument("--train-from", default="c5", help="the level that a tail begins with")
    parser.add_argument("--head", default="retinanet")
    parser.add_argument("--channels", type=int, default=96)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int)
    for name, kind in (("--mode", str), ("--cache", Path), ("--images", Path)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
