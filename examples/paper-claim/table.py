"""The paper's tables for the finished runs: AP fine-tuned and frozen with the trained share, and stage 2.

    python table.py WORK

Differences are frozen minus fine-tuned, paired by seed; ± is the standard error of their mean. The table of
stage 2 groups the classes of WORK/tail.json by the number of its images that show them.
"""

import sys
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from statistics import fmean, stdev

from fdet.cache.format.header import CacheHeader
from fdet.pipeline.runs import metrics_log
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.position import read_position
from fdet.pipeline.tools.capacity.measure import measure

DETECTORS = {
    "faster-fpn-s": "Faster R-CNN, FPN",
    "faster-nas-fpn-s": "Faster R-CNN, NAS-FPN",
    "cascade-fpn-s": "Cascade R-CNN, FPN",
    "cascade-nas-fpn-s": "Cascade R-CNN, NAS-FPN",
}
GROUPS = {"AP": "ap", "rare": "ap_rare", "common": "ap_common", "frequent": "ap_frequent"}


def main() -> None:
    work = Path(sys.argv[1])
    print("\n".join([*claim(work), "", *stage_2(work)]))


def claim(work: Path) -> Iterator[str]:
    yield "| detector | trained / all (M) | share | seeds | fine-tuned | frozen | difference |"
    yield "|---|---|---|---|---|---|---|"
    for preset, name in DETECTORS.items():
        pairs = pairs_of(work / "runs" / preset)
        if pairs:
            own, every = (count / 1e6 for count in parameters(preset, work))
            tuned, frozen = zip(*pairs, strict=True)
            yield (
                f"| {name} | {own:.2f} / {every:.2f} | {own / every:.0%} | {len(pairs)} | "
                f"{fmean(tuned):.1f} | {fmean(frozen):.1f} | {mean_of(differences(pairs), '+')} |"
            )


def pairs_of(folder: Path) -> list[tuple[float, float]]:
    """Return the (fine-tuned, frozen) AP of each seed that has both."""
    runs = {run.name: run for run in sorted(folder.glob("*-*")) if finished(run)}
    seeds = [name.removeprefix("cached-") for name in runs if name.startswith("cached-")]
    return [
        (best(runs[f"finetune-{seed}"])["AP"], best(runs[f"cached-{seed}"])["AP"])
        for seed in seeds
        if f"finetune-{seed}" in runs
    ]


def stage_2(work: Path) -> Iterator[str]:
    columns = " | ".join(f"{group}, stage 1 | stage 2" for group in GROUPS)
    yield f"| detector | seeds | {columns} | rare, difference |"
    yield "|---|" + "---|" * (2 * len(GROUPS) + 2)
    for preset, name in DETECTORS.items():
        firsts = sorted((work / "tail").glob(f"{preset}-*"))
        seconds = [work / "stage-2" / run.name for run in firsts]
        pairs = [
            (best(a), best(b))
            for a, b in zip(firsts, seconds, strict=True)
            if finished(a) and finished(b)
        ]
        if pairs:
            figures = " | ".join(
                f"{mean_of([a[g] for a, _ in pairs])} | {mean_of([b[g] for _, b in pairs])}"
                for g in GROUPS
            )
            gained = mean_of(differences([(a["rare"], b["rare"]) for a, b in pairs]), "+")
            yield f"| {name} | {len(pairs)} | {figures} | {gained} |"


def finished(run: Path) -> bool:
    state = run / "last.safetensors"
    return state.is_file() and read_position(state, RunInfo.read(run)).finished


def best(run: Path) -> dict[str, float]:
    """Return the AP and the groups' APs, 0 to 100, of the evaluation with the best AP; NaN for none."""
    found = [line["metrics"] for line in metrics_log.read(run) if line["kind"] == "eval"]
    metrics = max(found, key=lambda m: m["ap"] or 0.0)
    return {
        g: float("nan") if metrics.get(k) is None else 100 * metrics[k] for g, k in GROUPS.items()
    }


def differences(pairs: list[tuple[float, float]]) -> list[float]:
    return [second - first for first, second in pairs]


def mean_of(values: list[float], sign: str = "") -> str:
    """Format a mean with its standard error; the result is "-" where a value is missing."""
    if any(map(isnan, values)):
        return "-"
    if len(values) == 1:
        return f"{values[0]:{sign}.1f}"
    return f"{fmean(values):{sign}.1f} ± {stdev(values) / len(values) ** 0.5:.1f}"


def parameters(preset: str, work: Path) -> tuple[int, int]:
    """Return the number of parameters trained with a frozen backbone, and of all."""
    header = CacheHeader.read(work / "train.fdet")
    run = next((work / "runs" / preset).glob("cached-*"))
    parts = measure(load_config(Path(preset)), header, len(RunInfo.read(run).class_ids)).parts
    return sum(p.parameters for p in parts if p.trained), sum(p.parameters for p in parts)


if __name__ == "__main__":
    main()
