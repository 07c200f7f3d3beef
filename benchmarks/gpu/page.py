"""The page GPU.md: what was checked and measured, on which device, and when."""

import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import torch

import fdet

from .figures import Figures, Measured, waiting
from .outcome import Outcome
from .workload import Place

HEAD = """# On an accelerator

`make gpu-check` wrote this page ([how to run it](../docs/install.md#is-all-well-on-my-gpu)). Images are
drawn and weights are random, so that nothing is fetched. Only the ratios are of use on another machine.
"""
# A column of the table of figures: its name, and the text of a backbone's figure.
COLUMNS = {
    "cached / maps on the device": lambda f: times(f.ratio("cached", "memory")),
    "waiting": lambda f: share(waiting(f)),
    "online / cached": lambda f: times(f.ratio("online", "cached")),
    "finetune / cached": lambda f: times(f.ratio("finetune", "cached")),
    "extraction / forward": lambda f: times(f.forward / f.rate if f.rate else None),
    "extraction, images/s": lambda f: f"{f.rate:.1f}" if f.rate else "-",
}


def page(place: Place, outcomes: Sequence[Outcome], measured: Measured) -> str:
    """Return the whole page."""
    parts = [HEAD, machine(place.device), figures(place, measured), checks(outcomes)]
    return "\n".join(parts)


def machine(device: torch.device) -> str:
    """Return the lines on the device, its driver, the libraries and the date."""
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm"))
    return (
        f"- device: {name}\n- driver: {driver(device)}\n"
        f"- fdet {fdet.__version__}, {libraries}, CUDA {torch.version.cuda}, "
        f"Python {platform.python_version()}\n- date: {datetime.now(UTC):%Y-%m-%d}\n"
    )


def driver(device: torch.device) -> str:
    """Return the version of the driver, as nvidia-smi says it."""
    tool = shutil.which("nvidia-smi")
    if device.type == "cpu" or tool is None:
        return "unknown"
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    return (said.stdout.split() or ["unknown"])[0]


def figures(place: Place, measured: Measured) -> str:
    """Return the tables of figures."""
    scale = place.scale
    height, width = scale.measured_hw
    rows = [
        [f.backbone, *(text(f) for text in COLUMNS.values())] for f in measured.backbones.values()
    ]
    memory = [[f.backbone, *(peak(f, mode) for mode in MODES)] for f in measured.backbones.values()]
    lines = [
        f"## Figures\n\n{width} x {height} px, batches of {scale.measured_batch}, {scale.measured_channels} "
        "channels, head `tal`, the backbone in bf16; maps in the default codec.\n",
        *table(["backbone", *COLUMNS], rows),
        "",
        "*maps on the device*: the head's own step. *waiting*: the share of a cached step beyond that. "
        "*forward*: decoded canvases that pass through the backbone.\n",
        "Peak memory of the device in MiB; what is missing does not fit:\n",
        *table(["backbone", *MODES.values()], memory),
    ]
    if measured.together is not None:
        count, gain = measured.together
        lines += [
            "",
            f"{count} heads at the same time take {gain:.2f} times the steps a second of one.",
        ]
    return "\n".join([*lines, ""])


MODES = {
    "memory": "maps on the device",
    "cached": "cached",
    "online": "online",
    "finetune": "finetune",
}


def checks(outcomes: Sequence[Outcome]) -> str:
    """Return the table of checks."""
    rows = [[one.name, one.state, one.text.replace("|", "/")] for one in outcomes]
    return "\n".join(["## Checks\n", *table(["check", "", "found"], rows), ""])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]


def times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def peak(figures: Figures, mode: str) -> str:
    return f"{figures.peaks[mode]:.0f}" if mode in figures.peaks else "-"
