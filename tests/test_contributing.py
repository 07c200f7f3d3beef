"""The recipes of CONTRIBUTING.md for a dense head and a source, followed in a copy of the sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.history import evaluations_of, read_history, steps_of

from .pipeline.quick import quick
from .pipeline.training.runs import SHARED, assert_same, tensors

ROOT = Path(__file__).parents[1]

HEAD = '''"""A head of my own: an object is learnt by the points of its box that lie next to its centre."""

import math
from functools import partial

import torch
from torch.nn import functional

from ..assign import BACKGROUND, assigned, locations_per_object
from ..points import LocationsOf
from ..types import Fit
from .dense_head import Costs, DenseHead
from .towers import Tower


class Mine(DenseHead):
    classifier = "output"

    def __init__(self, spec, classes, settings):
        super().__init__()
        self.settings = settings
        size = settings.convs, settings.norm
        self.classification_head = Tower(spec.channels[0], classes, *size, -math.log(99))
        self.regression_head = Tower(spec.channels[0], 4, *size, 1.0)
        self.locations = LocationsOf(spec)

    def fit(self, boxes, canvas_hw):
        match = self.match(boxes, self.locations.of_canvas(canvas_hw, boxes.device))
        each = locations_per_object(match, len(boxes))
        return Fit(each, each > 0)

    def costs(self, outputs, pyramid, targets, counted):
        logits, sides = outputs
        places = self.locations(pyramid)
        learnt = assigned(targets, [self.match(t.boxes, places) for t in targets], places.points)
        labels = torch.arange(logits.shape[2], device=logits.device)
        wanted = (learnt.location_labels[..., None] == labels).float()
        entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if counted is not None:
            entropy = entropy * counted[:, None]
        distances = places.distances(learnt.spread(learnt.boxes)).clamp(min=0.01)
        boxes = (sides - distances.log()).abs().sum(dim=2) * learnt.foreground
        return Costs(learnt, learnt.foreground.sum(dim=1), entropy.sum(dim=2), {"box": boxes})

    def scores(self, outputs):
        return outputs[0].sigmoid()

    def boxes(self, outputs, pyramid):
        return partial(self.locations(pyramid).boxes_of, outputs[1].exp())

    def match(self, boxes, places):
        if not len(boxes):
            return torch.full((len(places.points),), BACKGROUND, device=boxes.device)
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        inside = ((places.points > low) & (places.points < high)).all(dim=2)
        far = ((places.points - (low + high) / 2) / places.strides).abs().amax(dim=2)
        nearest, match = far.masked_fill(~inside, math.inf).min(dim=0)
        return match.where(nearest <= self.settings.reach, BACKGROUND)
'''

SETTINGS = """

@dataclass(frozen=True, slots=True)
class MineSettings(NMSSettings):
    name: Literal["mine"] = "mine"
    convs: Annotated[int, between(1, 64), CONVS_HELP] = 2
    norm: Annotated[HeadNorm, "the norm between them"] = "gn"
    reach: Annotated[float, between(0, 8), "distance of points from the centre, in strides"] = 1.5
"""

BUILD = """

def _mine(spec: PyramidSpec, classes: int, settings: MineSettings) -> Head:
    from .mine import Mine

    return Mine(spec, classes, settings)
"""

SOURCE = '''"""A backbone in the loop whose maps are multiplied by one."""

from dataclasses import replace

from .live import LiveSource


class Mine(LiveSource):
    def load(self, batches):
        for loaded in super().load(batches):
            yield loaded._replace(pyramid=lambda make=loaded.pyramid: times_one(make()))


def times_one(pyramid):
    return replace(pyramid, maps=tuple(x * 1.0 for x in pyramid.maps))
'''

MAKE = """

def _mine(header: CacheHeader, images: Path, backbone: Backbone, workers: int) -> PyramidSource:
    from .mine import Mine

    return Mine(header, images, backbone, workers)
"""


def insert(path: Path, text: str, before: str) -> None:
    """Insert a text before the last place where a file has another one."""
    head, found, tail = path.read_text().rpartition(before)
    assert found, f"{before!r} in {path}"
    path.write_text(head + text + found + tail)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The folder of a package fdet that has a head and a source more."""
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "fdet"
    for name in ("cache", "heads", "pipeline"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / name, package)
    dense, sources = package / "heads" / "dense", package / "pipeline" / "sources"
    (dense / "mine.py").write_text(HEAD)
    with (dense / "settings.py").open("a") as settings:
        settings.write(SETTINGS)
    table = dense / "__init__.py"
    insert(table, "from .settings import MineSettings\n", before="\nif TYPE_CHECKING")
    insert(table, BUILD, before="\n\nDENSE_HEADS")
    insert(table, '    "mine": HeadFamily(_mine, MineSettings),\n', before="}\n")
    (sources / "mine.py").write_text(SOURCE)
    table = sources / "kinds.py"
    insert(table, MAKE, before="\n\n@dataclass")
    row = '    "mine": SourceKind("maps times one", "#F0E442", live=True, make=_mine),\n'
    insert(table, row, before="}\n")
    return folder


@pytest.fixture(scope="module")
def cache(dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cache") / "small.fdet"
    extract(quick(dataset, out, limit=6, backbone="test_efficientnet", levels="c3,c4,c5"))
    return out


def trained(copy: Path, cache: Path, out: Path, *words: object) -> Path:
    """A run of the fdet in the copy."""
    settings = [f"--set={one}" for one in (*SHARED, "head.convs=1", "head.normaliser=image")]
    command = [sys.executable, "-m", "fdet", "train-heads", cache, "--out", out, *settings, *words]
    done = subprocess.run(
        [*map(str, command), "--device", "cpu", "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_a_head_of_ones_own_is_trained_and_evaluated(copy, cache, tmp_path):
    run = trained(copy, cache, tmp_path / "run", "--head", "mine", "--val", cache)
    history = read_history(run)
    assert steps_of(history)[-1].losses.keys() == {"classification", "box"}
    assert len(evaluations_of(history)) == 2


@pytest.mark.slow
def test_a_source_of_ones_own_trains_as_the_one_that_it_is_built_on(copy, cache, dataset, tmp_path):
    words = ("--head", "mine", "--images", dataset.parent / "images")
    mine, online = (
        tensors(trained(copy, cache, tmp_path / name, *words, "--source", name))
        for name in ("mine", "online")
    )
    assert_same(mine, online)
