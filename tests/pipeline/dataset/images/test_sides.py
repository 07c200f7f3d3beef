"""The longer side follows from the shorter one as for COCO."""

import pytest

from fdet.pipeline.dataset.images.sides import chosen_long, usual_long


@pytest.mark.parametrize(
    ("short", "long"), [(800, 1333), (480, 800), (640, 1066), (600, 1000), (1, 2)]
)
def test_the_usual_limit_of_the_longer_side_is_that_of_coco(short, long):
    assert usual_long(short) == long
    assert chosen_long(short, None) == (
        f"--long {long}: 1333/800 of --short {short}, as it was not given"
    )
    assert chosen_long(short, long) == chosen_long(None, None) == ""
