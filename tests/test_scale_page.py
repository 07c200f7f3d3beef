"""docs/scale.md has the tables that benchmarks/scale.py prints, and these the figures that were measured."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCALE = runpy.run_path(str(ROOT / "benchmarks" / "scale.py"))
PAGE = (ROOT / "docs" / "scale.md").read_text()
CODECS = (ROOT / "docs" / "codecs.md").read_text()
RESULTS = " ".join((ROOT / "benchmarks" / "RESULTS.md").read_text().split())


@pytest.mark.parametrize("name", SCALE["TABLES"])
def test_the_page_has_the_table(name):
    lines = list(SCALE["TABLES"][name]())
    assert len(lines) > 3 and "\n".join(lines) in PAGE


def test_the_page_has_no_other_table_of_figures():
    count = len(re.findall(r"^\|(?:---\|)+$", PAGE, flags=re.MULTILINE))
    assert count == len(SCALE["TABLES"]) + 1, "the one beside says where figures are from"


def test_bits_of_the_default_backbone_are_those_of_the_page_on_codecs():
    for codec, bits in SCALE["LITE0"].bits.items():
        (told,) = re.findall(
            rf"^\| `{re.escape(codec)}` \| ([\d.]+) \|.*[()]", CODECS, flags=re.MULTILINE
        )[:1]
        assert float(told) == bits, codec


def test_bits_of_resnet_and_speeds_are_those_of_the_results():
    told = RESULTS.partition("A ReLU backbone, ResNet-50")[2].partition("Single values")[0]
    told = told.replace("`", "").replace(" and ", ", ")
    for codec, bits in SCALE["RESNET50"].bits.items():
        assert re.search(rf"\b{re.escape(codec)} {bits:.2f}\b", told), codec
    told = RESULTS.partition("MB of float32 maps a second on one thread")[2][:500].replace("`", "")
    for codec, (pack, unpack) in SCALE["SPEEDS"].items():
        assert f"{codec} {pack} / {unpack}" in told, codec


def test_the_images_of_the_data_sets_are_named():
    for name, count in SCALE["DATA_SETS"].items():
        assert name in PAGE and (f"{count:,}" in PAGE or name == "a billion")
