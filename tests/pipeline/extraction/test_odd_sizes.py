"""A backbone that does not take the canvases: one line and no folder, or canvases that it takes."""

import pytest

from fdet.cache.errors import InputError
from fdet.cache.reader import FeatureCache
from fdet.pipeline.extraction.extract import extract

from ..quick import quick


def test_nothing_is_left_behind_where_no_canvas_fits(dataset, tmp_path):
    out = tmp_path / "c.fdet"
    with pytest.raises(InputError, match=r"backbone levit_128s cannot take .*: --size 224"):
        extract(quick(dataset, out, backbone="levit_128s", levels=None, size=64))
    assert not list(tmp_path.iterdir())


def test_canvases_are_padded_to_what_the_windows_of_a_backbone_divide(dataset, tmp_path, caplog):
    out = tmp_path / "c.fdet"
    made = extract(quick(dataset, out, backbone="mobilevitv2_050", levels=None, size=96, limit=2))
    key = FeatureCache.open(out).header.key
    assert (key.long, key.divisor) == (96, 64)
    assert made.samples == len(key.views) * 2 and not made.failed
    assert "canvas sides are multiples of 64 px and not of 32 px" in caplog.text
