"""A sound data set, and what the doctor finds in one that was spoiled."""

import pytest

from fdet.pipeline.dataset.doctor.examine import examine
from fdet.pipeline.dataset.doctor.rules import Depth
from fdet.pipeline.dataset.doctor.subject import Split
from fdet.pipeline.dataset.splits.named_splits import read_splits

from ..made import Made, sound


@pytest.fixture
def made(tmp_path) -> Made:
    """A data set in which nothing is wrong yet."""
    return sound(tmp_path)


@pytest.fixture
def splits_of():
    """The splits of a data set, as the doctor takes them."""

    def read(made: Made) -> list[Split]:
        found = read_splits(made.write(), made.images)
        return [Split(name, data) for name, data in found.items()]

    return read


@pytest.fixture
def findings_of(splits_of):
    """The findings in a data set, by rule."""

    def find(made: Made, depth: Depth = Depth.pixels, resize=None):
        return {f.rule: f for f in examine(splits_of(made), depth, resize)}

    return find
