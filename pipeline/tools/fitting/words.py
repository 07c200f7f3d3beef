"""The commands that `fdet fit` runs, as words; what is printed and written is what runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from .canvas import Canvas
from .options import FitOptions
from .parts import Part
from .paths import word_of

# The maximum number of pictures.
PICTURES = 12
# The trial of `fdet plan`.
_TRIAL = ("--trial-images", "8", "--write-trial", "64MB", "--json")


def command_text(words: Sequence[str]) -> str:
    """Return a command as it can be copied."""
    return shlex.join(["fdet", *words])


def split_words(part: Part, out: Path, seed: int) -> list[str]:
    """Return the words that split off a fifth of a part for validation."""
    return [
        "dataset",
        "split",
        *part.words,
        "--out",
        word_of(out),
        "--val",
        "0.2",
        "--seed",
        str(seed),
    ]


def plan_words(
    options: FitOptions, part: Part, out: Path, canvas: Canvas, views: str, codec: str
) -> list[str]:
    """Return the words that measure what an extraction costs."""
    return ["plan", *_features(options, part, out, canvas, views, codec), *_TRIAL]


def extract_words(
    options: FitOptions,
    part: Part,
    out: Path,
    canvas: Canvas,
    views: str,
    codec: str,
    calibration: Path | None = None,
) -> list[str]:
    """Return the words of an extraction. calibration: the cache whose scales are taken over."""
    taken = [] if calibration is None else ["--calibration", word_of(calibration)]
    return ["extract", *_features(options, part, out, canvas, views, codec), *taken]


def train_words(
    options: FitOptions,
    caches: tuple[Path, Path | None],
    out: Path,
    preset: str | None = None,
    settings: Sequence[str] = (),
) -> list[str]:
    """Return the words of a training. caches: those of training and of validation.

    preset: the detector to train instead of that of the options. settings: more than the options have.
    """
    train, val = caches
    words = ["train-heads", word_of(train)]
    if val is not None:
        words += ["--val", word_of(val)]
    words += ["--out", word_of(out)]
    config = preset or options.config
    if config is not None:
        words += ["--config", word_of(config)]
    seed = [f"train.seed={options.seed}"] if options.seed else []
    for assignment in (*seed, *options.assignments, *settings):
        words += ["--set", assignment]
    if options.memory_limit is not None:
        words += ["--memory-limit", options.memory_limit]
    return [*words, *_machine(options)]


def evaluate_words(options: FitOptions, run: Path, val: Path) -> list[str]:
    """Return the words of an evaluation."""
    return ["evaluate", word_of(run), word_of(val), *_machine(options)]


def annotations_words(cache: Path, out: Path) -> list[str]:
    """Return the words that write the annotations of a cache as COCO JSON."""
    return ["cache", "annotations", word_of(cache), word_of(out)]


def predict_words(
    options: FitOptions, run: Path, part: Part, images: Sequence[Path], out: Path
) -> list[str]:
    """Return the words that draw what a run finds in some images of a part, also where others are drawn."""
    weights = options.weights
    return [
        *("predict", word_of(run), *map(word_of, images), "--out", word_of(out), "--overwrite"),
        *part.annotation_words,
        *(["--weights", weights] if weights is not None else []),
        *_machine(options, threads=False),
    ]


def report_words(options: FitOptions, run: Path, val: Path, images: Path, out: Path) -> list[str]:
    """Return the words that write the report."""
    files = ["--out", word_of(out), "--val", word_of(val), "--images", word_of(images)]
    return ["report", word_of(run), *files, *_machine(options)]


def _features(
    options: FitOptions, part: Part, out: Path, canvas: Canvas, views: str, codec: str
) -> list[str]:
    words = [*part.words, "--out", word_of(out), *canvas.words, "--views", views, "--codec", codec]
    given: dict[str, object] = {"--tiles": options.tiles, "--overlap": options.overlap}
    given |= {"--bits": options.bits, "--backbone": options.backbone, "--weights": options.weights}
    for flag, value in given.items():
        if value is not None:
            words += [flag, str(value)]
    if options.seed:
        words += ["--seed", str(options.seed)]
    return [*words, *_machine(options)]


def _machine(options: FitOptions, *, threads: bool = True) -> list[str]:
    words = [] if options.device == "auto" else ["--device", options.device]
    if threads and options.threads is not None:
        words += ["--threads", str(options.threads)]
    return words
