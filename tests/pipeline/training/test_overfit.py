"""Over the tables: every head and every neck learns a few images by heart; losses, boxes, frames agree.

Heads that refine proposals learn these images with their masks, in test_masks.py; the default head learns
them on each of the necks.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from fdet.heads.build import HEADS
from fdet.heads.necks import NECKS
from fdet.heads.roi import ROI_HEADS
from fdet.pipeline.evaluation.coco import Metrics
from fdet.pipeline.extraction.extract import extract
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

from ...conftest import extraction

DEFAULT = "tal"
# Where a head has such a setting: less work, and anchors of the size of the objects.
SMALLER = {"convs": 2, "anchor_scales": [4], "queries": 20, "layers": 2, "ffn_channels": 64}
TRAINING = ("train.batch_size=4", "train.epochs=40", "train.eval_every=40", "optim.lr=0.003")
NECK = ("neck.channels=32", "neck.max_level=5")

# The levels of a pyramid with random weights: of one stride, and of one number of channels.
TAPS = {"backbone": "test_vit", "levels": "block2,block5"}
EQUAL = {"backbone": "test_resnet", "levels": "c1,c2", "size": 64}
CACHED = {"vit-pyramid": TAPS, "tap-attention": TAPS, "identity": EQUAL}
# NAS-FPN always has five levels, and the identity those of its cache; both take longer.
LONGER = ("train.epochs=60", "train.eval_every=60")
NECK_OF = {
    "nas-fpn": ("neck.channels=32", *LONGER),
    "identity": ("train.epochs=70", "train.eval_every=70"),
}
# A decoder wants a lower rate.
HEAD_OF = {"query": ("optim.lr=0.001", "train.epochs=90", "train.eval_every=90")}


@pytest.fixture(scope="module")
def cache_of(dataset, exact_cache, tmp_path_factory) -> Callable[[str], Path]:
    """A cache that a neck takes."""
    folder = tmp_path_factory.mktemp("overfit")

    def made(neck: str) -> Path:
        if neck not in CACHED:
            return exact_cache
        changes = {"weights": "random", "views": "plain,hflip", "codec": "fp32", **CACHED[neck]}
        extract(extraction(dataset, folder / neck, **changes))
        return folder / neck

    return made


def learnt(cache: Path, out: Path, neck: str, head: str, settings: tuple[str, ...]) -> Metrics:
    known = {field.name for field in fields(HEADS[head].settings)}
    sizes = [f"head.{name}={value}" for name, value in SMALLER.items() if name in known]
    config = load_config(neck=neck, head=head, assignments=[*TRAINING, *settings, *sizes])
    metrics = train(config, TrainOptions(cache=cache, val=cache, out=out, threads=1)).metrics
    assert metrics is not None
    return metrics


@pytest.mark.slow
@pytest.mark.parametrize("head", [head for head in HEADS if head not in (DEFAULT, *ROI_HEADS)])
def test_a_head_learns_a_few_images_by_heart(head, exact_cache, tmp_path):
    """Twelve, square and 2:1, mirrored or not, one of them empty, with holes in the ids."""
    settings = (*NECK, *HEAD_OF.get(head, ()))
    assert learnt(exact_cache, tmp_path / "run", "fpn", head, settings).ap50 >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("neck", NECKS)
def test_a_neck_learns_a_few_images_by_heart(neck, cache_of, tmp_path):
    """The same images, with the default head, which has no anchors to choose."""
    settings = NECK_OF.get(neck, NECK)
    assert learnt(cache_of(neck), tmp_path / "run", neck, DEFAULT, settings).ap50 >= 0.95
