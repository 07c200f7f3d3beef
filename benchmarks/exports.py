"""Exported files against the runs that they are from: AP, latency and size, for each format and precision.

    python benchmarks/exports.py VAL IMAGES RUN... --out KEPT

VAL is a cache with the images of the proof, which is that of `fdet export --check`. The runs differ in their
heads. Latency is the median of an image in ms, with one thread and with all, in the file and in torch, in one
process.
"""

import argparse
from pathlib import Path

from fdet.cache.disk.sizes import megabytes
from fdet.cache.errors import InputError
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.exporting.export import export
from fdet.pipeline.tools.exporting.options import ExportOptions
from fdet.pipeline.tools.exporting.proof import Proof, prove

# The suffix of the file, and the options of each row.
FORMATS = {
    "onnx": (".onnx", {}),
    "onnx-fp16": (".onnx", {"fp16": True}),
    "onnx-int8": (".onnx", {"int8": True}),
    "pt2": (".pt2", {}),
    "openvino": (".xml", {}),
    "openvino-fp16": (".xml", {"fp16": True}),
    "openvino-int8": (".xml", {"int8": True}),
}


def main() -> None:
    arguments = parse()
    print(
        "| head | format | AP | AP in torch | 1 thread, ms | in torch | all, ms | in torch | size | met |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for run in arguments.runs:
        head = RunInfo.read(run).config.head.name
        for name in arguments.formats:
            print(row(head, name, run, arguments), flush=True)


def row(head: str, name: str, run: Path, arguments: argparse.Namespace) -> str:
    suffix, given = FORMATS[name]
    out = arguments.out / f"{run.name}-{name}" / f"model{suffix}"
    options = ExportOptions(
        check=arguments.val,
        images=arguments.images,
        check_images=arguments.check,
        overwrite=True,
        **given,
    )
    try:
        done = export(run, out, options)
    except InputError as error:
        return f"| `{head}` | {name} | {error} |"
    proof = prove(run, done.model, done.program, done.description, options)
    size = sum(
        p.stat().st_size
        for p in out.parent.iterdir()
        if p.suffix in (".onnx", ".pt2", ".xml", ".bin")
    )
    cells = [points(proof.found), points(proof.expected), *times(proof), megabytes(size)]
    return f"| `{head}` | {name} | {' | '.join(cells)} | {'no' if proof.failures else 'yes'} |"


def times(proof: Proof) -> list[str]:
    """Return the medians with one thread and with all, each of the file and of torch."""
    pairs = (proof.times[threads] for threads in (1, 0))
    return [f"{each.median:.0f}" for run, file in pairs for each in (file, run)]


def points(ap: float | None) -> str:
    return "-" if ap is None else f"{100 * ap:.1f}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("val", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--check", type=int, default=0, help="number of images; 0: all")
    parser.add_argument("--formats", type=lambda text: text.split(","), default=[*FORMATS])
    return parser.parse_args()


if __name__ == "__main__":
    main()
