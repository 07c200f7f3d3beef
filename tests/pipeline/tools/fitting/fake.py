"""Commands that take no time: those of data sets are real, the others only leave what a fit looks for."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from typer.testing import CliRunner

from fdet.cache.codecs.form import get_form
from fdet.cache.disk.files import FileEntry
from fdet.cache.errors import InputError
from fdet.cache.format.annotation_copy import NAME as COPY
from fdet.cache.format.annotation_copy import annotations_to_bytes
from fdet.cache.format.header import CacheHeader
from fdet.pipeline.cli import app
from fdet.pipeline.dataset.data_set import read_data_set
from fdet.pipeline.dataset.images.depth import recorded_bits
from fdet.pipeline.tools.fitting.child import Ended
from fdet.pipeline.tools.fitting.fit import fit
from fdet.pipeline.tools.fitting.options import FitOptions
from fdet.pipeline.tools.fitting.session import Surroundings
from fdet.pipeline.tools.upkeep.annotations import write_annotations

from ....cache.handmade import make_key, make_layout

SIZES = {"bf16": 3000.0, "int5": 1000.0, "int5+pca": 900.0, "int4": 700.0, "int4+pca": 600.0}


@dataclass
class Fake:
    """Runs commands and notes them; `around` is what a fit gets.

    sample, step, start: the seconds of an extracted sample, of a step, and of any command. free: the bytes
    that are free. statuses: of commands by their first word, taken one after another. interrupted: those that
    are asked to stop. bits: those of deep pixels that an extraction finds, by the name of its cache.
    calibration: the digest of the scales of caches that are not those of the others.
    """

    sample: float = 0.1
    step: float = 0.2
    small_step: float = 0.1
    start: float = 5.0
    free: float = 1e9
    accelerator: bool = False
    statuses: dict[str, list[int]] = field(default_factory=dict)
    interrupted: set[str] = field(default_factory=set)
    bits: dict[str, int] = field(default_factory=dict)
    calibration: dict[str, str] = field(default_factory=dict)
    now: float = 1000.0
    calls: list[list[str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def around(self) -> Surroundings:
        return Surroundings(
            self.run, self.said.append, lambda: self.now, lambda _: self.accelerator, self.device
        )

    def device(self, name: str) -> None:
        """Refuse a device that is not there."""
        if name not in ("auto", "cpu") and not self.accelerator:
            raise InputError(f"--device {name}: not usable here")

    @property
    def names(self) -> list[str]:
        """The first words of the commands that ran; the second one of `dataset`."""
        return [words[1] if words[0] == "dataset" else words[0] for words in self.calls]

    def of(self, name: str) -> list[list[str]]:
        """The commands of that name that ran."""
        return [c for c, n in zip(self.calls, self.names, strict=True) if n == name]

    def run(self, words: Sequence[str], lines=None) -> Ended:
        self.calls.append(list(words))
        name = self.names[-1]
        status = self.statuses[name].pop(0) if self.statuses.get(name) else 0
        self.now += self.start
        if status in (0, 3):
            status = getattr(self, f"_{name.replace('-', '_')}")(list(words), lines) or status
        return Ended(status, name in self.interrupted)

    def _split(self, words, lines) -> int:
        done = CliRunner().invoke(app, words)
        for line in done.stdout.splitlines() if lines else ():
            lines(line)
        return done.exit_code

    _check = _split

    def _plan(self, words, lines) -> None:
        views = 1 + option(words, "--views").count(",")
        codecs = [
            {"codec": name, "sample_bytes": size, "extraction_seconds": 10 * views * self.sample}
            for name, size in SIZES.items()
        ]
        asked = option(words, "--codec")
        plan = {
            "asked": asked,
            "samples": 10 * views,
            "disk": {"free": self.free},
            "codecs": codecs,
        }
        for line in json.dumps(plan, indent=2).splitlines():
            lines(line)

    def _extract(self, words, lines) -> None:
        out = Path(option(words, "--out"))
        out.mkdir(exist_ok=True)
        scales = self.calibration.get(out.name, "ab" * 32)
        _write_header(out, words, self.bits.get(out.name, 0), scales)
        (out / "manifest.json").write_text("{}")
        images = int(option(words, "--limit") or 10)
        self.now += self.sample * images

    def _train_heads(self, words, lines) -> None:
        run = Path(option(words, "--out"))
        assert run.exists() == ("--resume" in words)
        run.mkdir(exist_ok=True)
        (run / "run.json").write_text("{}")
        step = self.small_step if "tal-fpn-s" in words else self.step
        rest = {"kind": "train", "loss": 1.0, "images_per_second": 1.0, "waiting": 0.0}
        log = [
            {**rest, "step": 4 * e, "epoch": e, "seconds": 4 * step, "process_memory_mb": 1}
            for e in range(1, 6)
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
        self.now += 20 * step
        (run / "best.safetensors").touch()
        for line in ("20 steps", "what to do next:", "- rest"):
            lines(line)

    def _evaluate(self, words, lines) -> None:
        (Path(words[1]) / f"evaluation-{Path(words[2]).stem}.json").write_text("{}")
        for line in ("AP 50.0", "what to do next:", "- rest"):
            lines(line)

    def _cache(self, words, lines) -> None:
        write_annotations(Path(words[2]), Path(words[3]))

    def _predict(self, words, lines) -> None:
        assert "--overwrite" in words
        out = Path(option(words, "--out"))
        (out / "pictures").mkdir(parents=True, exist_ok=True)
        for name in ("prediction.json", "detections.json"):
            (out / name).write_text("{}")

    def _report(self, words, lines) -> None:
        Path(option(words, "--out")).write_text("page")


def _write_header(out: Path, words: Sequence[str], found: int, scales: str) -> None:
    """Write the header of a cache, and its copy of the annotations."""
    given = (option(words, flag) or None for flag in ("--images", "--format", "--split"))
    images, format, split = given
    folder = None if images is None else Path(images)
    data = read_data_set(Path(words[1]), folder, format=format, split=split)
    copy = annotations_to_bytes(data.raw)
    (out / COPY).write_bytes(copy)
    codec = option(words, "--codec")
    key = make_key(
        bits=recorded_bits(int(option(words, "--bits") or found)),
        codec=codec,
        calibration=scales if get_form(codec).calibrated else "",
    )
    header = CacheHeader(key, make_layout(), {}, other_files={COPY: FileEntry.of(copy)})
    (out / "fdet.json").write_bytes(header.to_bytes())


def option(words: Sequence[str], flag: str) -> str:
    """The value of an option, "" where it is not given."""
    return words[words.index(flag) + 1] if flag in words else ""


def settings(words: Sequence[str]) -> dict[str, str]:
    """The settings that --set gives."""
    pairs = pairwise(words)
    return dict(value.split("=") for flag, value in pairs if flag == "--set")


STEPS = ["check", "plan", "extract", "extract", "train-heads", "evaluate", "evaluate"]
STEPS += ["cache", "predict", "report"]


def options(data: Path, **more) -> FitOptions:
    """The options of a fit in the folder work."""
    return FitOptions(data=data, out=Path("work"), **more)


def fitted(data: Path, fake: Fake | None = None, **more) -> Fake:
    """Fit in the folder work, and return what ran the commands."""
    fake = fake or Fake()
    fit(options(data, **more), fake.around)
    return fake


def script_lines() -> list[str]:
    """The commands in commands.sh, with what lets them run twice."""
    lines = Path("work/commands.sh").read_text().splitlines()
    begun = 1 + next(k for k, line in enumerate(lines) if line.startswith("cd "))
    return [line for line in lines[begun:] if not line.startswith("test -e ")]


def commands_of(line: str) -> str:
    """The command of a line, without what lets it run twice."""
    line = re.sub(r" \|\| (\[ \$\? = \d \]|case \$\? in .* esac)$", "", line)
    return re.sub(r" \$\(test ! -e \S+ \|\| echo --resume\)", "", line)
