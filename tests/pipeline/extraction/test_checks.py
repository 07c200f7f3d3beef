"""What is wrong with an extraction is said in the order of what it costs to know."""

import sys

import pytest

from fdet.cache.errors import InputError
from fdet.pipeline.dataset import data_set
from fdet.pipeline.extraction.checks import check_extraction
from fdet.pipeline.extraction.options import ExtractConfig


@pytest.fixture
def unread(monkeypatch):
    """A process that has not imported timm, and that fails where the formats of data sets are asked."""
    monkeypatch.delitem(sys.modules, "timm", raising=False)

    def asked(data):
        raise AssertionError(f"{data} was looked at")

    monkeypatch.setattr(data_set, "check_data_name", asked)


def test_an_absent_path_is_said_before_a_backbone(unread, tmp_path):
    config = ExtractConfig(
        annotations=tmp_path / "no.json", out=tmp_path / "c", size=64, backbone="resnet19"
    )
    with pytest.raises(InputError, match=r"annotations .*no\.json: No such file or directory"):
        check_extraction(config)


def test_an_unknown_backbone_is_said_before_any_format_is_imported(unread, tmp_path):
    (tmp_path / "a.json").touch()
    config = ExtractConfig(
        annotations=tmp_path / "a.json", out=tmp_path / "c", size=64, backbone="resnet19"
    )
    with pytest.raises(InputError, match="unknown backbone 'resnet19'"):
        check_extraction(config)
