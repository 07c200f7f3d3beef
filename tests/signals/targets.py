"""The commands that write, each with what it needs and what it makes; pytest and the campaign attack them."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fdet.cache.disk.publish import only_writer

from ..generated import make_dataset
from ..pipeline.command_server import Commands
from ..pipeline.quick import command, tree

TRAINING = (
    *("--device", "cpu", "--threads", "1", "--head", "retinanet"),
    *("--set", "neck.channels=16", "--set", "head.norm=none", "--set", "neck.norm=none"),
    *("--set", "head.convs=1", "--set", "train.precision=fp32", "--set", "train.epochs=3"),
    *("--set", "neck.min_level=1", "--set", "neck.max_level=3"),
)


@dataclass(frozen=True)
class Ground:
    """A data set, and what was made of it without disturbance. older: a cache of half of its images."""

    dataset: Path
    cache: Path
    older: Path
    run: Path


def laid(folder: Path, commands: Commands) -> Ground:
    dataset = make_dataset(folder / "dataset")
    data = json.loads(dataset.read_text())
    half = {image["id"] for image in data["images"][::2]}
    data["images"] = [image for image in data["images"] if image["id"] in half]
    data["annotations"] = [box for box in data["annotations"] if box["image_id"] in half]
    (folder / "dataset" / "half.json").write_text(json.dumps(data))
    made = Ground(dataset, folder / "cache.fdet", folder / "older.fdet", folder / "run")
    training = ["train-heads", made.cache, "--val", made.cache, "--out", made.run, *TRAINING]
    for words in (
        command(dataset, made.cache),
        command(folder / "dataset" / "half.json", made.older),
        training,
    ):
        status = commands.run(words)
        assert status == 0, words
    return made


@dataclass(frozen=True)
class Target:
    """A command. words: for what it makes. before: what it needs there. again: the words that finish it.

    kept: which of the files that it makes are the same after any interruption.
    """

    words: Callable[[Ground, Path], Sequence[object]]
    before: Callable[[Ground, Path], object] = lambda ground, out: None
    again: Callable[[Ground, Path], Sequence[object]] | None = None
    kept: Callable[[str], bool] = lambda name: True

    def finish(self, ground: Ground, out: Path) -> Sequence[object]:
        return (self.again or self.words)(ground, out)

    def made(self, out: Path) -> dict[str, bytes]:
        """The files that have to be the same."""
        return {name: data for name, data in tree(out).items() if self.kept(name)}


def _weights(name: str) -> bool:
    return name.endswith(".safetensors")


def _resumable(ground: Ground, out: Path) -> Sequence[object]:
    words = ["train-heads", ground.cache, "--val", ground.cache, "--out", out, *TRAINING]
    return [*words, "--resume"] if (out / "run.json").exists() else words


TARGETS = {
    "extract": Target(lambda ground, out: command(ground.dataset, out)),
    "extract to hdf5": Target(lambda ground, out: command(ground.dataset, out, store="hdf5")),
    "extract with workers": Target(lambda ground, out: command(ground.dataset, out, workers=1)),
    "extract --update": Target(
        lambda ground, out: command(ground.dataset, out, update=ground.older)
    ),
    "convert the codec": Target(
        lambda ground, out: ["cache", "convert", ground.cache, out, "--codec", "int8"]
    ),
    "convert the store": Target(
        lambda ground, out: ["cache", "convert", ground.cache, out, "--store", "hdf5"]
    ),
    "copy": Target(lambda ground, out: ["cache", "copy", ground.cache, out]),
    "copy a part": Target(
        lambda ground, out: ["cache", "copy", ground.cache, out, "--levels", "c1", "--limit", "9"]
    ),
    "rm": Target(
        lambda ground, out: ["cache", "rm", out, "--yes"],
        lambda ground, out: shutil.copytree(ground.cache, out),
    ),
    "dataset split": Target(
        lambda ground, out: ["dataset", "split", ground.dataset, "--out", out, "--val", "0.4"]
    ),
    "dataset convert": Target(
        lambda ground, out: ["dataset", "convert", ground.dataset, "--out", out, "--to", "yolo"]
    ),
    "train-heads": Target(_resumable, kept=_weights),
    "evaluate": Target(
        lambda ground, out: ["evaluate", out, ground.cache, "--device", "cpu"],
        lambda ground, out: shutil.copytree(ground.run, out),
        kept=_weights,
    ),
    "predict": Target(
        lambda ground, out: [
            *("predict", ground.run, ground.dataset.parent / "images", "--out", out),
            *("--recursive", "--save-crops", "--threshold", "0.01", "--device", "cpu"),
        ]
    ),
    "audit": Target(
        lambda ground, out: [
            *("audit", ground.run, ground.cache, "--out", out, "--folds", "2", "--above", "0.01"),
            *("--images", ground.dataset.parent / "images", "--device", "cpu", "--threads", "1"),
        ],
        kept=lambda name: name.endswith((".safetensors", ".csv", ".jpg")) or name == "audit.json",
    ),
    "watch": Target(
        lambda ground, out: ["watch", ground.run, "--once", "--out", out / "watch.html"],
        lambda ground, out: out.mkdir(),
        kept=lambda name: False,
    ),
}


def assert_free(out: Path) -> None:
    """Nobody holds a lock there."""
    if out.exists():
        with only_writer(out, "rank-0-of-1", alone=True):
            pass
