"""docs/codecs.md lists the codecs that there are, with the bytes and the steps that they have."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np

from fdet.cache.codecs.block_calibration import HALF
from fdet.cache.codecs.form import NUMBERS, parse_form
from fdet.pipeline.extraction.calibration import CELLS
from fdet.pipeline.extraction.options import CALIBRATION_IMAGES

PAGE = (Path(__file__).parent.parent / "docs" / "codecs.md").read_text()
TEXT = " ".join(PAGE.split())
NUMBERS_PART = PAGE.partition("## Numbers")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| `([\w.]+)`.* \| (\d) \| (.*) \|$", NUMBERS_PART, flags=re.MULTILINE)


def test_every_codec_is_listed_from_the_finest_to_the_coarsest():
    assert [name for name, *_ in ROWS] == list(NUMBERS)


def test_the_bytes_are_those_of_the_stored_form():
    for name, size, _ in ROWS:
        form = parse_form(name)
        values = int(np.prod(form.shape((5, 4, 6)))) * np.dtype(form.dtype).itemsize
        assert values == int(size) * 5 * 4 * 6, name


def test_a_decoded_value_is_within_half_a_step():
    told = {name: re.search(r"within (1/\d+)", text) for name, _, text in ROWS}
    for name, numbers in NUMBERS.items():
        if numbers.rate is not None:
            continue
        found = told[name] and float(Fraction(told[name][1]))
        assert found == (numbers.step and numbers.step / 2), name
        if numbers.step is not None:
            assert numbers.step == 16 / 2 ** int(name[3:])


def test_the_error_of_a_coefficient_is_the_programs():
    assert f"within {HALF:g} of the step" in TEXT


def test_the_figures_of_the_calibration_are_the_programs():
    assert f"of {CALIBRATION_IMAGES} images (`--calibration-images`)" in TEXT
    assert f"up to {CELLS} cells a level" in TEXT
