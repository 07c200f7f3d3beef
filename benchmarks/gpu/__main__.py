"""The command: it says one line for each check, and writes GPU.md where there is an accelerator."""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from fdet.cache.errors import InputError
from fdet.heads.build import HEADS
from fdet.pipeline.machines.devices import pick_device

from .figures import Measured, measurements
from .outcome import Check, Outcome, outcomes
from .page import page
from .parity import compiled_checks, head_checks
from .resuming import resume_checks
from .several import process_checks
from .transfers import transfer_checks
from .workload import FULL, QUICK, Place, draw_images, make_cache

PAGE = Path(__file__).parent.parent / "GPU.md"
# What there is to do, for the line of each where there is no accelerator.
PARTS = (
    *(f"{head} on the device" for head in HEADS),
    "maps that are copied and decoded",
    "two processes",
    "a run that is resumed",
    "figures",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all of it; return 1 where a check has failed."""
    given = parse(arguments)
    if given.device == "auto" and not torch.cuda.is_available():
        for part in PARTS:
            print(
                Outcome(part, "skipped", "torch finds no GPU; --device cpu --quick tries the suite")
            )
        return 0
    try:
        device = pick_device("cuda" if given.device == "auto" else given.device)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory(dir=given.disk) as folder:
        place = Place(device, QUICK if given.quick else FULL, Path(folder))
        return run(place, given)


def run(place: Place, given: argparse.Namespace) -> int:
    """Make the checks, then the measurements, and write the page."""
    measured, done = Measured(), []
    for one in outcomes(everything(place, measured), time.monotonic() + 60 * given.minutes):
        print(f"{one} ({one.seconds:.0f} s)", flush=True)
        done.append(one)
    out = given.out or (PAGE if place.device.type == "cuda" else None)
    if out is not None:
        out.write_text(page(place, done, measured))
        print(out)
    counts = {
        state: sum(one.state == state for one in done) for state in ("ok", "failed", "skipped")
    }
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    return int(counts["failed"] > 0)


def everything(place: Place, measured: Measured) -> Iterator[Check]:
    """Yield the checks and the measurements; a cache is made when the first of its checks is near."""
    scale = place.scale
    annotations = draw_images(place.folder / "checked", scale.pictures, scale.hw)
    cache = make_cache(place, annotations, scale.checked, scale.hw)
    yield from transfer_checks(place, cache)
    yield from head_checks(place, cache)
    yield from process_checks(place, cache)
    yield from resume_checks(place, cache)
    yield from measurements(place, measured)
    yield from compiled_checks(place, cache)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fdet.benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1; cpu to try the suite")
    parser.add_argument("--quick", action="store_true", help="the smallest size")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="nothing is begun after so many; default 9"
    )
    parser.add_argument("--out", type=Path, help=f"the page; default {PAGE}, on an accelerator")
    parser.add_argument(
        "--disk", type=Path, help="where caches are written; default: the system's own"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
