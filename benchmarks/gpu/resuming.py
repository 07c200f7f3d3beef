"""A run on the device that is interrupted and resumed, against one that is not."""

import os
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.position import LAST
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train
from fdet.pipeline.watching.events import Event

from .outcome import Check
from .parity import exact
from .workload import Place

# A run stops itself at these steps, the log's own, long before its end.
HALF, WHOLE, EPOCHS = 10, 20, 100
# Sums by atomic additions: how many times as far as two equal runs a resumed one may be from them.
AS_TWO_RUNS = 4.0


def resume_checks(place: Place, cache: Path) -> Iterator[Check]:
    """Yield the check of a resumed run."""
    for head in ("tal", "faster-rcnn"):
        yield Check(f"{head}, resumed", partial(same_resumed, place, cache, head))


def same_resumed(place: Place, cache: Path, head: str) -> str:
    """Compare all that a checkpoint holds: weights, and the state of the optimiser."""
    out = place.folder / f"resumed-{head}"
    whole = state_of(place, cache, head, out / "whole", [WHOLE])
    parts = state_of(place, cache, head, out / "parts", [HALF, WHOLE])
    if all(torch.equal(whole[name], parts[name]) for name in whole):
        return "the same bits as a run that was not interrupted"
    again = state_of(place, cache, head, out / "again", [WHOLE])
    usual = apart(whole, again)
    assert usual > 0, f"{apart(whole, parts):.2g} apart, where two runs have the same bits"
    found = apart(whole, parts)
    text = f"{found:.2g} apart, two runs that are not interrupted {usual:.2g}"
    assert found <= AS_TWO_RUNS * usual, text
    return f"not the same bits: {text}"


def apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest difference of two states."""
    return max(float((one[n].double() - other[n].double()).abs().max()) for n in one)


def state_of(
    place: Place, cache: Path, head: str, out: Path, stops: list[int]
) -> Mapping[str, Tensor]:
    """Train, with an interruption at each of the steps; return the tensors of the last checkpoint."""
    scale = place.scale
    given = [f"neck.channels={scale.channels}", f"train.batch_size={scale.batch}"]
    given += ["train.precision=fp32", f"train.epochs={EPOCHS}"]
    config = load_config(head=head, assignments=given)
    for number, stop in enumerate(stops):

        def interrupted(event: Event, stop: int = stop) -> None:
            if event.step >= stop:
                os.kill(os.getpid(), signal.SIGINT)

        options = TrainOptions(
            cache=cache, out=out, device=str(place.device), resume=number > 0, hooks=[interrupted]
        )
        try:
            with exact():
                train(config, options)
        except KeyboardInterrupt:
            continue
        raise AssertionError(f"the run was not interrupted at step {stop}")
    state: Mapping[str, Tensor] = load_file(out / LAST)
    return state
