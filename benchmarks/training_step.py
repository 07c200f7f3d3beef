"""A training step from the cache against the head's own step, on maps that are already in memory.

    python benchmarks/training_step.py CACHE IMAGES --head retinanet

These two, and the backbone in the loop, run in turn in this process. An extraction of at least `--steps`
batches is needed.
"""

import argparse
import statistics
from pathlib import Path

import torch
from steps import Training

from fdet.pipeline.machines.devices import keep_freed_memory
from fdet.pipeline.runs.config import load_config


def main() -> None:
    arguments = parse()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    modes = ("memory", "cached", "online")[: 2 if arguments.without_backbone else 3]
    settings = [f"neck.channels={arguments.channels}", f"train.batch_size={arguments.batch_size}"]
    config = load_config(head=arguments.head, assignments=settings)
    count = arguments.steps
    trials = {mode: Training(mode, arguments.cache, arguments.images, config) for mode in modes}
    held = trials["memory"].held(count)
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    waiting: dict[str, list[float]] = {mode: [] for mode in modes}
    for number in range(arguments.rounds + 1):
        # The first round warms up. The order alternates, so that no mode always follows the same one.
        for mode in modes if number % 2 else modes[::-1]:
            batches = held if mode == "memory" else trials[mode].batches(count)
            took = trials[mode].seconds(batches, count)
            if number:
                seconds[mode].append(took)
                waiting[mode].append(trials[mode].waited / took)
    for mode in modes:
        pairs = zip(seconds[mode], seconds["memory"], strict=True)
        ratios = [ours / memory for ours, memory in pairs]
        print(
            f"{mode:<7} {statistics.median(seconds[mode]):7.3f} s a step, "
            f"{statistics.median(ratios):.3f} x memory ({min(ratios):.3f} to {max(ratios):.3f}), "
            f"waiting {statistics.median(waiting[mode]):.1%}"
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--head", default="retinanet")
    parser.add_argument("--channels", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--without-backbone", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
