"""The number of bits is looked at once for a data set, is always the same, and is said in one line."""

import logging

import numpy as np
import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.dataset.images import depth as depth_file
from fdet.pipeline.dataset.images.depth import LOOKED_AT, find_bits, recorded_bits

from .deep_files import write_netpbm, write_png, write_tiff


def grey(high, low=0):
    return np.array([[low, high]], np.uint16)


def bits_of(folder):
    return find_bits(folder, sorted(path.name for path in folder.iterdir()))


@pytest.mark.parametrize(
    ("high", "bits"),
    [(200, 8), (256, 10), (1023, 10), (1024, 12), (4031, 12), (4096, 14), (16384, 0), (65535, 0)],
)
def test_the_range_decides_and_one_line_says_so(high, bits, tmp_path, caplog):
    write_png(tmp_path / "a.png", grey(high // 2))
    write_tiff(tmp_path / "b.tif", grey(high))
    assert bits_of(tmp_path) == bits
    (message,) = caplog.messages
    expected = f"deep pixels reach {high} in 2 of 2 deep images: read as {bits or 16} bits; --bits to change"
    assert message == expected


def test_deep_colours_count(tmp_path):
    write_png(tmp_path / "a.png", np.full((2, 3, 3), 900, np.uint16))
    assert bits_of(tmp_path) == 10


def test_a_data_set_without_deep_images_says_nothing(tmp_path, caplog):
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    write_netpbm(tmp_path / "b.pgm", grey(900), 1023)  # its range is stated
    (tmp_path / "c.png").write_bytes(b"no image")
    assert find_bits(tmp_path, ["a.png", "b.pgm", "c.png", "missing.png"]) == 0
    assert caplog.messages == []


def test_files_that_always_have_8_bits_are_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(depth_file, "has_deep_pixels", None)
    assert find_bits(tmp_path, ["a.jpg", "b.JPEG", "c.webp"]) == 0


def test_a_fixed_number_of_deep_images_is_decoded(tmp_path, monkeypatch, caplog):
    names = [f"{k:03}.png" for k in range(100)]
    for k, name in enumerate(names):
        write_png(tmp_path / name, grey(1000 + k))
    real, decoded = depth_file.load_deep_values, []
    monkeypatch.setattr(
        depth_file, "load_deep_values", lambda path: decoded.append(path.name) or real(path)
    )
    assert find_bits(tmp_path, names) == 12
    assert len(decoded) == LOOKED_AT
    first = list(decoded)
    find_bits(tmp_path, names)
    assert decoded == first * 2
    assert first[0] == "000.png" and first[-1] > "090.png"
    assert "in 32 of 100 deep images" in caplog.messages[0]


def test_black_images_tell_nothing(tmp_path):
    write_png(tmp_path / "a.png", grey(0))
    assert bits_of(tmp_path) == 0


def test_what_cannot_be_decoded_is_left_to_extraction(tmp_path):
    write_png(tmp_path / "a.png", grey(900))
    write_tiff(tmp_path / "b.tif", grey(60000), black=False)
    write_tiff(tmp_path / "c.tif", np.array([[np.nan]], np.float32))
    assert bits_of(tmp_path) == 10


def test_floats_of_0_to_1_need_no_bits(tmp_path, caplog):
    write_tiff(tmp_path / "a.tif", np.array([[0, 1]], np.float32))
    assert bits_of(tmp_path) == 0
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0, 251.5], r"reach 0\.\.251.5, expected 0\.\.1; .*or give --bits 8 for 0\.\.255"),
        ([-1, 1], r"reach -1\.\.1, expected 0\.\.1; convert them to 0\.\.1$"),
        ([0, 1e9], r"expected 0\.\.1; convert them to 0\.\.1$"),
    ],
)
def test_floats_of_another_range_are_refused_with_it(values, said, tmp_path):
    write_tiff(tmp_path / "a.tif", np.array([values], np.float32))
    with pytest.raises(InputError, match=f"^a.tif: floating-point pixels .*{said}"):
        bits_of(tmp_path)


def test_the_files_of_another_range_are_named(tmp_path):
    for name, values in (("a", [0, 1]), ("b", [-3, 0]), ("c", [0, 7]), ("d", [0, 1])):
        write_tiff(tmp_path / f"{name}.tif", np.array([values], np.float32))
    with pytest.raises(InputError, match=r"^c\.tif and b\.tif: .* reach -3\.\.7, expected 0\.\.1"):
        bits_of(tmp_path)


def test_integers_and_floats_that_no_depth_suits_are_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", np.array([[0, 1]], np.float32))
    write_png(tmp_path / "b.png", grey(4000))
    with pytest.raises(
        InputError,
        match=r"pixels of 0 to 1, others integers of 0 to 4000, e\.g\. a\.tif and b\.png",
    ):
        bits_of(tmp_path)


def test_more_than_16_bits_have_to_be_given(tmp_path):
    write_tiff(tmp_path / "a.tif", np.array([[0, 100_000]], np.int32))
    with pytest.raises(
        InputError, match=r"^a\.tif: deep pixels reach 100000, expected at most 65535; .*--bits 17"
    ):
        bits_of(tmp_path)


def test_sixteen_bits_are_recorded_as_before(caplog):
    caplog.set_level(logging.INFO)
    assert [recorded_bits(bits) for bits in (8, 12, 16, 20)] == [8, 12, 0, 20]
