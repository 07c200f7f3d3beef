"""What is wrong with names, paths, settings and options is said before torch is imported, in one line."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from fdet.pipeline.cli import app
from fdet.pipeline.runs.checkpoint import save_weights
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.runs.position import Position

from ..cache.handmade import make_cache, make_header

# TMP/... is a path below the folder that `folder` makes.
EXTRACT = ["extract", "TMP/data.json", "--images", "TMP/images", "--out", "TMP/new", "--size=64"]
PLAN = ["plan", *EXTRACT[1:]]
TRAIN = ["train-heads", "TMP/cache", "--out", "TMP/new"]
RETRAIN = ["retrain-classifier", "TMP/run", "TMP/cache", "--out", "TMP/new"]
EQUAL = ["check-equivalence", "TMP/cache", "--images", "TMP/images"]
COMPARE = ["compare", "TMP/empty.toml", "--cache", "TMP/cache", "--val", "TMP/cache"]
COMPARE += ["--images", "TMP/images", "--out", "TMP/new"]
ABLATE = ["ablate", "TMP/plan.toml"]
MODEL = ["model", "retinanet-fpn-s", "--cache", "TMP/cache"]
EVALUATE = ["evaluate", "TMP/run", "TMP/cache"]
PREDICT = ["predict", "TMP/run", "TMP/images", "--out", "TMP/new"]
EXPORT = ["export", "TMP/run", "--out", "TMP/new/model.onnx"]
AUDIT = ["audit", "TMP/run", "TMP/cache", "--out", "TMP/new"]
REPORT = ["report", "TMP/run"]
CONVERT = ["cache", "convert", "TMP/cache", "TMP/new", "--codec=fp16"]
COPY = ["cache", "copy", "TMP/cache", "TMP/new"]

NO_CACHE, NO_RUN = "TMP/no is not a cache", "TMP/no is not a run"
# The words of a command, and what it has to say. Each command comes with the paths, names and settings that
# it takes; a word that is given twice counts the second time.
CASES = [
    (["extract", "TMP/no.json", *EXTRACT[2:]], "TMP/no.json: No such file"),
    ([*EXTRACT, "--images=TMP/no"], "--images TMP/no: no such folder"),
    ([*EXTRACT, "--images=TMP/data.json"], "it is a file; expected a folder"),
    ([*EXTRACT, "--out=TMP/full"], "the folder is not empty (notes.txt, ...) and holds no cache"),
    ([*EXTRACT, "--weights=TMP/no.pth"], "--weights TMP/no.pth: no such file"),
    ([*EXTRACT, "--weights=TMP/images"], "--weights TMP/images: it is a folder"),
    ([*EXTRACT, "--calibration=TMP/no"], NO_CACHE),
    ([*EXTRACT, "--update=TMP/no"], NO_CACHE),
    ([*EXTRACT, "--backbone=resnet19"], "unknown backbone 'resnet19'; did you mean 'resnet18'"),
    ([*EXTRACT, "--backbone=torchvision/resnet51"], "did you mean 'torchvision/resnet"),
    ([*EXTRACT, "--codec=fp61"], "unknown codec 'fp61'; did you mean 'fp16'?"),
    ([*EXTRACT, "--store=hfd5"], "--store 'hfd5'; did you mean 'hdf5'?"),
    ([*EXTRACT, "--precision=fp61"], "--precision 'fp61'; did you mean 'fp16'?"),
    ([*EXTRACT, "--device=cdua"], "--device cdua: not usable here; did you mean 'cuda'?"),
    ([*EXTRACT, "--device=cuda:first"], "--device cuda:first: not usable here"),
    ([*EXTRACT, "--views=plain,hfilp"], "did you mean 'hflip'?"),
    ([*EXTRACT, "--engine=rai"], "--engine 'rai'; did you mean 'ray'?"),
    ([*EXTRACT, "--format=kokoro"], "--format 'kokoro'"),
    ([*EXTRACT, "--split=train"], "TMP/data.json is a single set"),
    ([*EXTRACT, "--short=64", "--long=32"], "give either --size N (square) or --short N"),
    ([*EXTRACT, "--size=0"], "--size: expected 1 to 65536, got 0"),
    ([*EXTRACT, "--threads=0"], "--threads: expected at least 1, got 0"),
    ([*EXTRACT, "--rank=1"], "--rank and --world belong together"),
    ([*EXTRACT, "--ray-cpus=2"], "--ray-cpus: belongs to --engine ray"),
    ([*EXTRACT, "--engine=ray", "--ray-gpus=1.5"], "--ray-gpus: expected 0, a part of 1"),
    (["fit", "TMP/no.json", "--out=TMP/new"], "TMP/no.json: No such file"),
    (["zoo", "list", "--zoo=s4://bucket/zoo"], "s4://...: no place for a cache"),
    (["zoo", "add", "TMP/no", "--zoo=TMP/new"], NO_RUN),
    (["zoo", "get", "cells", "--zoo=TMP/full"], "zoo:cells: the zoo TMP/full has no such entry"),
    (
        ["zoo", "push", "cells", "lab/cells", "--zoo=TMP/full"],
        "zoo:cells: the zoo TMP/full has no such",
    ),
    (
        ["zoo", "pull", "lab/cells", "--revision="],
        "--revision: expected a branch, a tag or a commit",
    ),
    (["plan", "TMP/no.json", *PLAN[2:]], "TMP/no.json: No such file"),
    ([*PLAN, "--backbone=resnet19"], "did you mean 'resnet18'"),
    ([*PLAN, "--epochs=0"], "--epochs: expected at least 1, got 0"),
    (["train-heads", "TMP/no", *TRAIN[2:]], NO_CACHE),
    (["train-heads", "TMP/full", *TRAIN[2:]], "TMP/full is not a cache"),
    (["train-heads", "TMP/older", *TRAIN[2:]], "format 1; this fdet reads format"),
    ([*TRAIN, "--val=TMP/no"], NO_CACHE),
    ([*TRAIN, "--val=TMP/cache", "--with=TMP/no", "--val-with=TMP/cache"], NO_CACHE),
    ([*TRAIN, "--out=TMP/run"], "it contains a run already"),
    ([*TRAIN, "--out=TMP/full"], "--out TMP/full: the folder is not empty"),
    ([*TRAIN, "--resume"], "there is no run in TMP/new"),
    ([*TRAIN, "--start=TMP/no"], NO_RUN),
    ([*TRAIN, "--annotations=TMP/no.json"], "TMP/no.json: No such file"),
    ([*TRAIN, "--class-embeddings=TMP/no"], "--class-embeddings TMP/no: no such file"),
    ([*TRAIN, "--source=online", "--images=TMP/no"], "--images TMP/no: no such folder"),
    ([*TRAIN, "--config=TMP/no.toml"], "TMP/no.toml: No such file"),
    ([*TRAIN, "--config=TMP/data.json"], "not TOML"),
    ([*TRAIN, "--config=tal-fpm"], "did you mean 'tal-fpn'?"),
    ([*TRAIN, "--neck=fpm"], "unknown neck 'fpm'; did you mean 'fpn'?"),
    ([*TRAIN, "--head=fcso"], "unknown head 'fcso'; did you mean 'fcos'?"),
    ([*TRAIN, "--source=onlin"], "--source 'onlin'; did you mean 'online'?"),
    ([*TRAIN, "--device=gpu"], "--device gpu: not usable here"),
    ([*TRAIN, "--track=wandd"], "--track wandd: no such tracker; did you mean 'wandb'?"),
    ([*TRAIN, "--set=optim.lrr=1"], "unknown setting 'optim.lrr'; did you mean 'optim.lr'?"),
    ([*TRAIN, "--set=train.epochs=many"], "setting 'train.epochs': expected int"),
    ([*TRAIN, "--set=optim.lr=-1"], "setting 'optim.lr': expected at least"),
    ([*TRAIN, "--set=head.iou_background=0.9"], "unknown setting 'head.iou_background'"),
    ([*TRAIN, "--set=neck.levels=['c3']"], "setting 'neck.levels': "),
    ([*TRAIN, "--set=train.views=9"], "setting 'train.views': expected at most the 2 views"),
    ([*TRAIN, "--set=train.patience=3"], "nothing is evaluated without --val"),
    ([*TRAIN, "--masks"], "--masks: head tal finds none"),
    ([*TRAIN, "--adapters"], "--adapters (backbone.adapters) act inside the backbone"),
    ([*TRAIN, "--images=TMP/images"], "--images is for a backbone in the loop"),
    (["retrain-classifier", "TMP/no", *RETRAIN[2:]], NO_RUN),
    (["retrain-classifier", "TMP/begun", *RETRAIN[2:]], "TMP/begun is not finished"),
    (["retrain-classifier", "TMP/run", "TMP/no", *RETRAIN[3:]], NO_CACHE),
    ([*RETRAIN, "--device=cdua"], "did you mean 'cuda'?"),
    ([*RETRAIN, "--set=optim.lrr=1"], "did you mean 'optim.lr'?"),
    ([*RETRAIN, "--epochs=0"], "setting 'train.epochs': expected at least 1, got 0"),
    (["check-equivalence", "TMP/no", *EQUAL[2:]], NO_CACHE),
    ([*EQUAL, "--images=TMP/no"], "--images TMP/no: no such folder"),
    ([*EQUAL, "--config=tal-fpm"], "did you mean 'tal-fpn'?"),
    ([*EQUAL, "--set=optim.lrr=1"], "did you mean 'optim.lr'?"),
    ([*EQUAL, "--samples=0"], "--samples: expected at least 1, got 0"),
    ([*COMPARE, "--cache=TMP/no"], NO_CACHE),
    ([*COMPARE, "--images=TMP/no"], "--images TMP/no: no such folder"),
    (["compare", "TMP/no.toml", *COMPARE[2:]], "TMP/no.toml: No such file"),
    ([*COMPARE, "--sources=onlin"], "--sources 'onlin'; did you mean 'online'?"),
    ([*COMPARE, "--set=optim.lrr=1"], "did you mean 'optim.lr'?"),
    (["ablate", "TMP/no.toml"], "TMP/no.toml: No such file"),
    ([*ABLATE, "--cache=TMP/no"], NO_CACHE),
    ([*ABLATE, "--engine=rai"], "--engine 'rai'; did you mean 'ray'?"),
    (["ablate", "TMP/wrong-plan.toml"], "unknown setting 'optim.lrr'; did you mean 'optim.lr'?"),
    ([*ABLATE, "--jobs=0"], "--jobs: expected at least 1, got 0"),
    ([*MODEL, "--cache=TMP/no"], NO_CACHE),
    (["model", "retinanet-fpm", *MODEL[2:]], "did you mean 'retinanet-fpn"),
    ([*MODEL, "--set=optim.lrr=1"], "did you mean 'optim.lr'?"),
    (["train-heads", "--resume", "TMP/no"], "--resume: there is no run in TMP/no"),
    ([*TRAIN, "--resume", "--out=TMP/run", "--set=optim.lr=9"], "optim.lr was 0.1, is 9.0"),
    (
        [*TRAIN, "--config=faster-fpn", "--neck=bifpn"],
        "preset faster-fpn: unknown setting 'neck.ex",
    ),
    (["settings", "heads"], "settings 'heads'; did you mean 'head'?"),
    (["evaluate", "TMP/no", *EVALUATE[2:]], NO_RUN),
    (["evaluate", "TMP/run", "TMP/no"], NO_CACHE),
    (["evaluate", "TMP/run", "TMP/other-cache"], "holds other features than this run"),
    ([*EVALUATE, "--annotations=TMP/no.json"], "TMP/no.json: No such file"),
    ([*EVALUATE, "--checkpoint=last", "--images=TMP/images"], "needs no images"),
    (["evaluate", "TMP/begun", "TMP/cache"], "best.safetensors: no such file; --checkpoint last"),
    ([*EVALUATE, "--compare=TMP/no"], NO_RUN),
    ([*EVALUATE, "--engine=pycoco"], "--engine 'pycoco'; did you mean 'pycocotools'?"),
    ([*EVALUATE, "--threads=0"], "--threads: expected at least 1, got 0"),
    (["predict", "TMP/no", *PREDICT[2:]], NO_RUN),
    (["predict", "TMP/run", "TMP/no", *PREDICT[3:]], "TMP/no: no such file or folder"),
    ([*PREDICT, "--out=TMP/full"], "--out TMP/full: the folder is not empty"),
    ([*PREDICT, "--weights=TMP/no.pth"], "--weights TMP/no.pth: no such file"),
    ([*PREDICT, "--with-weights=TMP/data.json"], "was trained on one cache alone"),
    ([*PREDICT, "--device=cdua"], "did you mean 'cuda'?"),
    ([*PREDICT, "--threshold=3"], "--threshold: expected 0 to 1, or auto, got 3.0"),
    ([*PREDICT, "--every=0"], "--every: expected at least 1, got 0"),
    ([*PREDICT, "--annotations-format=coco"], "it goes with --annotations; leave it out"),
    ([*PREDICT, "--nms=agnostc"], "--nms 'agnostc'; did you mean 'agnostic'?"),
    ([*EVALUATE, "--nms=agnostc"], "--nms 'agnostc'; did you mean 'agnostic'?"),
    (["audit", "TMP/no", *AUDIT[2:]], NO_RUN),
    (["audit", "TMP/run", "TMP/no", *AUDIT[3:]], NO_CACHE),
    (["audit", "TMP/run", "TMP/other-cache", *AUDIT[3:]], "holds other features than this run"),
    (["export", "TMP/no", *EXPORT[2:]], NO_RUN),
    (
        ["export", "TMP/run", "--out=TMP/new/model.engine"],
        "expected a name that ends with one of .onnx",
    ),
    ([*EXPORT, "--format=onxn"], "--format 'onxn'; did you mean 'onnx'?"),
    ([*EXPORT, "--int8"], "--int8 is calibrated on images"),
    ([*AUDIT, "--out=TMP/full"], "--out TMP/full: the folder is not empty"),
    ([*AUDIT, "--images=TMP/no"], "--images TMP/no: no such folder"),
    ([*AUDIT, "--annotations=TMP/no.json"], "TMP/no.json: No such file"),
    ([*AUDIT, "--folds=1"], "--folds: expected 2 to 20, got 1"),
    ([*AUDIT, "--pictures=jpgs"], "--pictures 'jpgs'; did you mean 'jpg'?"),
    ([*AUDIT, "--device=cdua"], "did you mean 'cuda'?"),
    (["browse", "TMP/no"], NO_CACHE),
    (["browse", "TMP/cache", "--images=TMP/no"], "--images TMP/no: no such folder"),
    (["browse", "TMP/cache", "--annotations=TMP/data.json", "--format=x"], "--format 'x'"),
    (["watch", "TMP/no"], "TMP/no: no such folder"),
    (["watch", "TMP/run", "--out=TMP/page.txt"], "expected a name that ends in .html"),
    (["report", "TMP/no"], "TMP/no: no such folder"),
    ([*REPORT, "--val=TMP/no"], NO_CACHE),
    ([*REPORT, "--out=TMP/report.txt"], "expected a name that ends in .html"),
    ([*REPORT, "--device=cdua"], "did you mean 'cuda'?"),
    ([*REPORT, "--images=TMP/images"], "--images is for the page or for --val"),
    (["cache", "convert", "TMP/no", *CONVERT[3:]], NO_CACHE),
    ([*CONVERT, "--store=hfd5"], "--store 'hfd5'; did you mean 'hdf5'?"),
    ([*CONVERT, "--codec=fp61"], "unknown codec 'fp61'; did you mean 'fp16'?"),
    ([*CONVERT, "--calibration-images=0"], "--calibration-images: expected at least 1, got 0"),
    (["cache", "copy", "TMP/no", "TMP/new"], NO_CACHE),
    ([*COPY, "--levels=p9"], "--levels: "),
    ([*COPY, "--limit=0"], "--limit: expected at least 1, got 0"),
    (["doctor", "--folder=TMP/no"], "--folder TMP/no: no such folder"),
    (["doctor", "--device=cdua"], "did you mean 'cuda'?"),
    *((["cache", name, "TMP/no"], NO_CACHE) for name in ("info", "verify")),
    (["cache", "diff", "TMP/cache", "TMP/no"], NO_CACHE),
    (["cache", "rm", "TMP/no", "--yes"], NO_CACHE),
    (["cache", "annotations", "TMP/no", "TMP/new"], NO_CACHE),
    (["dataset", "check", "TMP/no.json"], "TMP/no.json: No such file"),
    (["dataset", "convert", "TMP/data.json", "--out=TMP/new", "--to=coko"], "did you mean 'coco'?"),
    (["dataset", "split", "TMP/no.json", "--out=TMP/new"], "TMP/no.json: No such file"),
]
# The words of a case in a text, e.g. for the name of its test.
NAMES = [" ".join(words) for words, _ in CASES]

DRIVER = """
import json, sys
from importlib.abc import MetaPathFinder

class Refusing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refusing())
from typer.testing import CliRunner
from fdet.pipeline.cli import app

for words in json.load(sys.stdin):
    done = CliRunner().invoke(app, words)
    print(json.dumps([done.exit_code, done.stdout, done.stderr, repr(done.exception)]))
"""


class Ended(NamedTuple):
    """How a command ended that could not import torch."""

    status: int
    stdout: str
    stderr: str
    exception: str


def without_torch(commands) -> list[Ended]:
    """What each of the commands does, one after the other, in one process without torch."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]


def write_run(folder: Path, key, *, finished: bool) -> None:
    """A run directory as training leaves it, without a model in its checkpoints."""
    config = load_config(head="retinanet", assignments=["train.epochs=3", "optim.lr=0.1"])
    info = RunInfo(key, (1,), ("cell",), config, 10, {"source": "cached"}, ("f",))
    folder.mkdir()
    (folder / "run.json").write_bytes(info.to_bytes())
    save_weights(folder / "last.safetensors", {}, asdict(Position(finished=finished)), info.digest)
    if finished:
        save_weights(folder / "best.safetensors", {}, {}, info.digest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set, a cache, a run that is finished, one that is not, and files that are none of these."""
    root = tmp_path_factory.mktemp("given")
    header = make_header(codec="fp32")
    make_cache(root / "cache", header)
    make_cache(root / "other-cache", make_header(backbone="another"))
    write_run(root / "run", header.key, finished=True)
    write_run(root / "begun", header.key, finished=False)
    for name in ("images", "full", "older"):
        (root / name).mkdir()
    (root / "older" / "fdet.json").write_text('{"format": 1}')
    (root / "full" / "notes.txt").touch()
    (root / "empty.toml").touch()
    data = {"images": [], "annotations": [], "categories": []}
    (root / "data.json").write_text(json.dumps(data))
    for name, axis in (("plan", "optim.lr"), ("wrong-plan", "optim.lrr")):
        lines = ['out = "new"', 'cache = "cache"', 'val = "cache"', "[axes]", f'"{axis}" = [0.1]']
        (root / f"{name}.toml").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def ended(folder) -> dict[str, Ended]:
    """How each of the cases ended, by the words of its command."""
    commands = [[word.replace("TMP", str(folder)) for word in words] for words, _ in CASES]
    return dict(zip(NAMES, without_torch(commands), strict=True))


@pytest.mark.parametrize(("words", "said"), CASES, ids=NAMES)
def test_what_is_wrong_is_one_line_and_exit_2_before_torch(words, said, ended, folder):
    status, stdout, stderr, exception = ended[" ".join(words)]
    assert (status, stdout) == (2, ""), f"{stderr} {exception}"
    # Many cases repeat an option of a good command with another value.
    errors = [line for line in stderr.splitlines() if "only the last one counts" not in line]
    assert len(errors) == 1 and errors[0].startswith("fdet: ")
    assert said.replace("TMP", str(folder)) in stderr
    assert not (folder / "new").exists()


def commands_of(group, *above) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        found += commands_of(command, *above, name) if inner else [(*above, name)]
    return found


COMMANDS = commands_of(typer.main.get_command(app))


def test_every_command_has_a_case():
    given = {tuple(words) for words, _ in CASES}
    without = [c for c in COMMANDS if not any(words[: len(c)] == c for words in given)]
    assert without == [("presets",)], "which takes neither a name nor a path"


def test_all_help_and_the_settings_need_no_torch():
    commands = [[*words, "--help"] for words in [(), *COMMANDS]] + [["settings", "--format=md"]]
    for words, (status, stdout, _, exception) in zip(
        commands, without_torch(commands), strict=True
    ):
        assert status == 0 and stdout, f"{words}: {exception}"
