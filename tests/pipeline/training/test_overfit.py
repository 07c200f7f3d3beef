"""Over the table: every head learns a few images by heart, so its losses, boxes and frames agree."""

from dataclasses import fields

import pytest

from fdet.heads.build import HEADS
from fdet.pipeline.runs.config import load_config
from fdet.pipeline.training.options import TrainOptions
from fdet.pipeline.training.train import train

# Where a head has such a setting: less work, and anchors of the size of the objects.
SMALLER = {
    **{"convs": 2, "conv_channels": 32, "fc_channels": 128, "sampled": 64},
    **{"anchor_scales": [4], "rpn_top_train": [300, 100], "rpn_top_test": [300, 100]},
}
TRAINING = (
    *("neck.channels=32", "neck.max_level=5", "train.batch_size=4"),
    *("train.epochs=40", "train.eval_every=40", "optim.lr=0.003"),
)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_a_head_learns_a_few_images_by_heart(head, exact_cache, tmp_path):
    """Twelve, square and 2:1, mirrored or not, one of them empty, with holes in the ids."""
    known = {field.name for field in fields(HEADS[head].settings)}
    sizes = [f"head.{name}={value}" for name, value in SMALLER.items() if name in known]
    config = load_config(head=head, assignments=[*TRAINING, *sizes])
    options = TrainOptions(cache=exact_cache, val=exact_cache, out=tmp_path / "run", threads=1)
    metrics = train(config, options).metrics
    assert metrics is not None
    assert metrics.ap50 >= 0.95
