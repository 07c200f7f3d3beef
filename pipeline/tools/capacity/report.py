"""The report of a detector's capacity, for people."""

from __future__ import annotations

from collections.abc import Iterator

from ....cache.disk.sizes import format_bytes
from ...runs.paper import SMALL_DATA, SMALL_IMAGES
from .measure import REFINER, Capacity

# The trained share of all parameters at which the paper's frozen detectors begin to reach fine-tuned ones.
ENOUGH = 0.4
_ROW = "{:<28} {:>12} {:>14}  {}"


def capacity_lines(found: Capacity) -> Iterator[str]:
    """Yield the lines of a table of the parts, the share that is trained, and what a step keeps."""
    rows, columns = found.canvas_hw
    yield f"canvas {rows}x{columns} px"
    yield _ROW.format("", "parameters", "GFLOPs/image", "")
    for part in found.parts:
        state = "trained" if part.trained else "frozen"
        yield _ROW.format(
            part.name, f"{part.parameters / 1e6:.2f} M", f"{part.flops / 1e9:.2f}", state
        )
    yield f"trained share: {found.trained_share:.1%}"
    one, all_of_them = map(format_bytes, (found.activations, found.activations * found.together))
    yield (
        f"activations of a step: {one} an image, {all_of_them} for the {found.together} that are "
        "processed at once"
    )
    # A refiner is no detector whose share could be too small.
    if found.trained_share < ENOUGH and found.parts[-1].name != REFINER:
        yield (
            f"note: less than {ENOUGH:.0%} is trained. On COCO a frozen ResNet-101 lost 6.5 AP against "
            "fine-tuning with 26 % trained (FPN), broke even with 40 % (NAS-FPN) and gained 0.7 with 54 % "
            f"(NAS-FPN and Cascade R-CNN): arXiv 2204.00484. {small_data()}"
        )


def small_data() -> str:
    """Return what is known of the trained share where data are few."""
    found = ", ".join(f"{point.gain:+.1f} with {point.share:.0%}" for point in SMALL_DATA)
    return (
        f"With {SMALL_IMAGES} images (BCCD, one seed each) the share did not decide: {found} "
        "(docs/claim.md), where 2 points may be chance; RetinaNet on FPN reached AP 47.4 with 11% trained, "
        "Cascade R-CNN on NAS-FPN 48.1 with 53% (docs/detectors.md)"
    )
