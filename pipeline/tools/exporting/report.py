"""The table of a proof, for people."""

from __future__ import annotations

from collections.abc import Iterator

from ....cache.wording import counted
from .agreement import BOX, SCORE
from .proof import Proof

_ROW = "{:<34} {:>12} {:>12}"


def proof_lines(proof: Proof) -> Iterator[str]:
    """Yield the table: what the file finds beside the run, how long both take, and what is not kept."""
    found = proof.agreement
    yield f"checked on {counted(proof.images, 'image')}: {found.total} detections of the run in fp32"
    yield f"  the same within {BOX:g} px and {SCORE:g}: {found.same} ({found.share:.1%})"
    if found.tied:
        yield f"  another box of the same score, which NMS takes for the same object: {found.tied}"
    yield f"  largest differences: box {found.box:.2g} px, score {found.score:.2g}"
    yield _ROW.format("", "run (torch)", proof.model)
    yield _ROW.format("AP", _points(proof.expected), _points(proof.found))
    if proof.predicted != proof.expected:
        yield _ROW.format("AP as the run computes", _points(proof.predicted), "")
    for threads, (run, file) in proof.times.items():
        name = "1 thread" if threads else "all threads"
        yield _ROW.format(f"ms an image, median, {name}", f"{run.median:.1f}", f"{file.median:.1f}")
        yield _ROW.format(f"ms an image, p95, {name}", f"{run.p95:.1f}", f"{file.p95:.1f}")
    for failure in proof.failures:
        yield f"FAILED: {failure}"
    if not proof.failures:
        yield f"{proof.model} finds the same"


def _points(ap: float | None) -> str:
    return "-" if ap is None else f"{100 * ap:.1f}"
