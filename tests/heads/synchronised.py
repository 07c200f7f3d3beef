"""Batch normalisation over two processes; run as a program it is both.

python synchronised.py FOLDER
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fdet.cache.pyramid import FeaturePyramid
from fdet.heads.build import build_detector
from fdet.heads.dense.settings import RetinaNetSettings
from fdet.heads.necks.settings import BiFPNSettings
from fdet.heads.norms import SyncBatchNorm
from fdet.heads.recompute import recomputed
from fdet.tests.heads.reference import SPEC, batch


@dataclass(frozen=True)
class Case:
    """split: how many of the images the first process has. Values lie around `mean`."""

    split: int
    shape: tuple[int, ...] = (4, 3, 5, 7)
    mean: float = 1.0
    dtype: torch.dtype = torch.float32
    recompute: bool = False


CASES = {
    "even": Case(2),
    "uneven": Case(1),
    "none in one": Case(0),
    "far from zero": Case(1, mean=100.0),
    "a single value in one": Case(1, shape=(4, 3, 1, 1)),
    "recomputed": Case(3, recompute=True),
    "bfloat16": Case(2, dtype=torch.bfloat16),
}


def work(name: str, images: slice) -> dict[str, Tensor]:
    """Two steps in training and one look in evaluation, of a loss that is no sum of equal terms."""
    case = CASES[name]
    generator = torch.Generator().manual_seed(5)
    whole = torch.randn(case.shape, generator=generator)
    # The images differ, so that their statistics do.
    whole = whole * torch.arange(1, len(whole) + 1)[:, None, None, None] + case.mean
    factors = torch.randn(case.shape, generator=generator)
    # A norm alone would hide gradients: what comes out has the same mean and spread, whatever comes in.
    model = nn.Sequential(SyncBatchNorm(3), nn.ReLU(), SyncBatchNorm(3))
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.copy_(torch.rand(3, generator=generator) + k / 4)
    x = whole[images].to(case.dtype).requires_grad_()
    for _ in range(2):
        out = recomputed(model, x) if case.recompute else model(x)
        (out.float().pow(3) * factors[images]).sum().backward()
    found = {"out": out.detach(), "gradient of x": x.grad}
    found |= {f"gradient of {n}": p.grad for n, p in model.named_parameters()}
    found |= {n: v.clone() for n, v in model.named_buffers()}
    return found


def of_detectors(parts: list[list[int]], recompute: bool) -> dict[str, Tensor]:
    """The summed gradients and the statistics of a detector after a step over parts of three images,
    among them empty ones.
    """
    torch.manual_seed(0)
    settings = BiFPNSettings(channels=16, repeats=2, norm="sync-bn")
    detector = build_detector(SPEC, 3, settings, RetinaNetSettings(norm="none")).train()
    detector.checkpoint_activations(recompute)
    given, placements, targets, seeds = batch(3)
    for part in parts:
        if not part:
            detector.accompany()
            continue
        maps = tuple(x[part] for x in given.maps)
        pyramid = FeaturePyramid(given.spec, maps, given.canvas_hw)
        about = ([x[k] for k in part] for x in (placements, targets, seeds))
        losses = detector.losses(pyramid, *about)
        sum(losses.values()).sum().backward()
    found = {
        f"gradient of {n}": p.grad for n, p in detector.named_parameters() if p.grad is not None
    }
    return found | {n: v.clone() for n, v in detector.named_buffers()}


STEPS = {False: [[[0], [2]], [[1], []]], True: [[[0], []], [[2], [1]]]}


def main(folder: Path) -> None:
    """Both processes: torch is imported once."""
    child = os.fork()
    rank = 0 if child else 1
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", world_size=2, rank=rank)
    parts = {n: (slice(0, c.split), slice(c.split, None))[rank] for n, c in CASES.items()}
    found = {name: work(name, part) for name, part in parts.items()}
    for recompute, of_ranks in STEPS.items():
        found[f"step {recompute}"] = of_detectors(of_ranks[rank], recompute)
    torch.save(found, folder / f"rank{rank}.pt")
    dist.destroy_process_group()
    if child and os.waitpid(child, 0)[1]:
        raise SystemExit("the second process failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
