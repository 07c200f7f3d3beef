"""Deep pixels keep their order and their range, whatever Pillow would make of them."""

import numpy as np
import pytest
from PIL import Image

from fdet.pipeline.dataset.images.decoding import (
    ImageError,
    load_deep_values,
    load_image,
    read_header,
)

from .deep_files import write_netpbm, write_png, write_tiff

GREY = np.linspace(0, 4031, 200).astype(np.uint16).reshape(10, 20)
COLOURS = np.stack([GREY, GREY // 2, 4031 - GREY], axis=2)
OPAQUE = np.dstack([COLOURS, np.full_like(GREY, 65535)])


def loaded(path, bits):
    return np.asarray(load_image(path, bits=bits)[0])


def scaled(values, bits):
    return np.round(values * (255 / (2**bits - 1)))


GREY_FILES = {
    "png": lambda path: write_png(path, GREY, filters=(0, 1, 2, 3, 4)),
    "little.tif": lambda path: write_tiff(path, GREY),
    "big.tif": lambda path: write_tiff(path, GREY, order=">"),
    "deflate.tif": lambda path: write_tiff(path, GREY, deflate=True),
    "signed.tif": lambda path: write_tiff(path, GREY.astype(np.int16)),
    "long.tif": lambda path: write_tiff(path, GREY.astype(np.int32)),
    "unsigned.tif": lambda path: write_tiff(path, GREY.astype(np.uint32)),
    "pgm": lambda path: write_netpbm(path, GREY, 65535),
    "jp2": lambda path: Image.fromarray(GREY).save(path),
}


@pytest.mark.parametrize("bits", [0, 12, 14, 31])
@pytest.mark.parametrize("kind", GREY_FILES)
def test_deep_grey_is_scaled_from_the_range_of_its_bits(kind, bits, tmp_path):
    GREY_FILES[kind](path := tmp_path / f"a.{kind}")
    assert read_header(path).deep
    assert np.array_equal(load_deep_values(path), GREY)
    expected = scaled(GREY, bits or 16)
    for channel in range(3):
        assert np.array_equal(loaded(path, bits)[..., channel], expected)


COLOUR_FILES = {
    "png": lambda path: write_png(path, COLOURS, filters=(4, 3, 2, 1, 0)),
    "alpha.png": lambda path: write_png(path, OPAQUE, filters=(1, 4)),
    "little.tif": lambda path: write_tiff(path, COLOURS),
    "big.tif": lambda path: write_tiff(path, COLOURS, order=">"),
    "deflate.tif": lambda path: write_tiff(path, COLOURS, deflate=True),
    "deflate-big.tif": lambda path: write_tiff(path, COLOURS, deflate=True, order=">"),
    "alpha.tif": lambda path: write_tiff(path, OPAQUE),
}


@pytest.mark.parametrize("kind", COLOUR_FILES)
def test_the_lower_byte_of_deep_colours_counts_too(kind, tmp_path):
    COLOUR_FILES[kind](path := tmp_path / f"a.{kind}")
    assert read_header(path).deep
    assert np.array_equal(load_deep_values(path), COLOURS)
    assert np.array_equal(loaded(path, 12), scaled(COLOURS, 12))
    # Of 16 bits, the upper byte is what older caches have.
    assert np.array_equal(loaded(path, 0), COLOURS >> 8)


@pytest.mark.parametrize("bits", [0, 12])
@pytest.mark.parametrize("values", [GREY, COLOURS], ids=["pgm", "ppm"])
def test_a_range_that_the_file_states_is_taken_from_there(values, bits, tmp_path):
    path = write_netpbm(tmp_path / "a.pnm", values, 4095)
    assert (
        np.abs(
            loaded(path, bits).astype(int)[..., 0] - values.reshape(10, 20, -1)[..., 0] / 4095 * 255
        ).max()
        <= 1
    )
    assert load_deep_values(path) is None


def test_eight_bits_are_left_alone(tmp_path):
    values = np.arange(200, dtype=np.uint8).reshape(10, 20)
    for name in ("a.png", "a.tif", "a.bmp", "a.pgm", "a.jp2"):
        Image.fromarray(values).save(tmp_path / name)
        assert not read_header(tmp_path / name).deep
        assert np.array_equal(loaded(tmp_path / name, 12)[..., 0], values)
        assert load_deep_values(tmp_path / name) is None


REFUSED = {
    "planes": (
        lambda path: write_tiff(path, COLOURS, planes=True),
        (0, 12),
        "stored plane by plane; convert it",
    ),
    "white": (lambda path: write_tiff(path, GREY, black=False), (0, 12), "has white as zero"),
    "grey and alpha": (
        lambda path: write_png(path, np.dstack([GREY, GREY])),
        (12,),
        "of a kind that is not read; convert it",
    ),
    "alpha": (
        lambda path: write_png(path, np.dstack([COLOURS, GREY])),
        (12,),
        "partly transparent",
    ),
    "ppm": (lambda path: write_netpbm(path, COLOURS, 65535), (12,), "cannot be read from PPM"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_misread_is_refused(case, tmp_path):
    write, refusing, said = REFUSED[case]
    write(path := tmp_path / "a")
    for bits in (0, 12):
        if bits in refusing:
            with pytest.raises(ImageError, match=said):
                load_image(path, bits=bits)
        else:
            load_image(path, bits=bits)


@pytest.mark.parametrize("values", [GREY, COLOURS], ids=["grey", "colours"])
def test_a_pixel_beyond_the_range_fails_and_never_wraps(values, tmp_path):
    path = write_png(tmp_path / "a.png", values)
    with pytest.raises(
        ImageError, match=r"reach 0\.\.4031, expected 0\.\.1023 \(10 bits; see --bits\)"
    ):
        load_image(path, bits=10)


@pytest.mark.parametrize("order", "<>")
def test_floating_point_pixels_of_0_to_1_are_scaled(order, tmp_path):
    unit = (GREY / 4031).astype(np.float32)
    path = write_tiff(tmp_path / "a.tif", unit, order=order)
    assert read_header(path).deep
    assert np.array_equal(loaded(path, 0)[..., 0], np.round(unit * 255))


def test_floating_point_pixels_of_another_range_take_its_bits(tmp_path):
    path = write_tiff(tmp_path / "a.tif", GREY.astype(np.float32) / 16)
    assert np.array_equal(loaded(path, 8)[..., 0], np.round(GREY / 16))
    with pytest.raises(
        ImageError, match=r"floating-point pixels reach 0\.\.251.*expected 0\.\.1 \(see"
    ):
        load_image(path)


def test_floating_point_pixels_that_round_to_the_ends_are_within_them(tmp_path):
    values = np.array([[-0.001, 1.001], [0, 1]], np.float32)
    assert loaded(write_tiff(tmp_path / "a.tif", values), 0)[..., 0].tolist() == [[0, 255]] * 2
    values[0, 0] = -0.01
    with pytest.raises(ImageError, match=r"reach -0\.01"):
        load_image(write_tiff(tmp_path / "b.tif", values))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(odd, tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.array([[0, odd]], np.float32))
    with pytest.raises(ImageError, match="NaN or infinite"):
        load_image(path)


def test_a_rotated_deep_file_comes_out_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "a.tif", exif=exif)
    assert np.array_equal(loaded(tmp_path / "a.tif", 12)[..., 0], scaled(np.rot90(GREY, -1), 12))
