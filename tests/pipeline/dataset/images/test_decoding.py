"""Whatever a file stores, an upright RGB image comes out, or one reason why not."""

import hashlib
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from fdet.pipeline.dataset.images.decoding import (
    ImageError,
    has_deep_pixels,
    load_deep_values,
    load_image,
    read_header,
)
from fdet.pipeline.machines import interrupt

RED, GREEN, BLUE = (220, 30, 40), (20, 200, 60), (30, 50, 210)


def corners(size=(30, 20)):
    """A picture that no flip or turn leaves as it is."""
    image = Image.new("RGB", size, (90, 90, 90))
    image.paste(RED, (0, 0, 10, 5))
    image.paste(GREEN, (size[0] - 10, 0, size[0], 5))
    image.paste(BLUE, (0, size[1] - 5, 10, size[1]))
    return image


def save_turned(path, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners().save(path, exif=exif, **options)
    return path


def loaded(path, image_hw=None):
    return np.asarray(load_image(path, image_hw)[0]).astype(int)


def grey_png_16(path, values):
    """Written by hand: big-endian 16-bit grey."""
    rows, columns = values.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", columns, rows, 16, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm"])
def test_rgb_files_come_out_as_they_are(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    corners().save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(loaded(path), np.asarray(corners()))


def test_grey_and_one_bit_files_repeat_their_channel(tmp_path):
    values = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert np.array_equal(loaded(tmp_path / "grey.png"), np.stack([values] * 3, axis=2))
    bits = values % 3 == 0
    Image.fromarray(bits).save(tmp_path / "bits.png")
    assert np.array_equal(loaded(tmp_path / "bits.png"), np.stack([bits * 255] * 3, axis=2))


def test_palette_files_show_their_colours(tmp_path):
    corners().quantize(8).save(tmp_path / "a.png")
    corners().quantize(8).save(tmp_path / "a.gif")
    for name in ("a.png", "a.gif"):
        assert np.abs(loaded(tmp_path / name) - np.asarray(corners())).max() <= 8


def test_a_transparent_palette_entry_becomes_white(tmp_path):
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    pixels = loaded(tmp_path / "a.png")
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert tuple(pixels[1, 3]) == RED


@pytest.mark.parametrize(("mode", "shown"), [("RGBA", RED), ("LA", (100, 100, 100))])
def test_alpha_is_laid_over_white(mode, shown, tmp_path):
    colour = RED if mode == "RGBA" else (100,)
    image = Image.new(mode, (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (*colour, alpha))
    image.save(tmp_path / "a.png")
    pixels = loaded(tmp_path / "a.png")[0]
    half = np.array(shown) * 128 / 255 + 255 * 127 / 255
    assert tuple(pixels[0]) == (255, 255, 255)
    assert np.abs(pixels[1] - half).max() <= 1
    assert tuple(pixels[2]) == shown


def test_a_transparent_grey_value_becomes_white(tmp_path):
    Image.fromarray(np.array([[7, 8]], dtype=np.uint8)).save(tmp_path / "a.png", transparency=7)
    assert loaded(tmp_path / "a.png")[0].tolist() == [[255] * 3, [8] * 3]


@pytest.mark.parametrize("high", [65535, 1000])
def test_sixteen_bit_grey_is_scaled_not_cut(high, tmp_path):
    values = np.linspace(0, high, 60).reshape(6, 10).astype(np.uint16)
    expected = np.round(values / 257)
    assert np.array_equal(loaded(grey_png_16(tmp_path / "a.png", values))[..., 0], expected)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    assert np.array_equal(loaded(tmp_path / "a.tiff")[..., 2], expected)


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    pixels = loaded(tmp_path / "a.jpg")
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels - (255, 0, 0)).max() <= 6


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("jpg", {"quality": 100, "subsampling": 0}),
        ("png", {}),
        ("webp", {"lossless": True}),
        ("tiff", {}),
        ("tiff", {"compression": "tiff_lzw"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_gives_the_size_that_the_annotations_name(
    orientation, suffix, options, tmp_path
):
    path = save_turned(tmp_path / f"a.{suffix}", orientation, **options)
    header = read_header(path)
    assert (header.stored_hw, header.orientation) == ((20, 30), orientation)
    assert header.upright_hw == ((30, 20) if orientation >= 5 else (20, 30))

    # PNG knows the same turns and Pillow leaves its files alone: an independent reference.
    reference = Image.open(save_turned(tmp_path / "reference.png", orientation))
    upright = np.asarray(ImageOps.exif_transpose(reference))
    stored = np.asarray(corners())
    limit = 4 if suffix == "jpg" else 0
    for image_hw in (None, header.upright_hw):
        assert np.abs(loaded(path, image_hw) - upright).max() <= limit
    if orientation >= 5:
        assert np.abs(loaded(path, (20, 30)) - stored).max() <= limit


def test_an_unknown_orientation_is_upright(tmp_path):
    path = save_turned(tmp_path / "a.png", 9)
    assert read_header(path).orientation == 1
    assert np.array_equal(loaded(path), np.asarray(corners()))


def test_the_sha256_is_of_the_files_bytes(tmp_path):
    path = save_turned(tmp_path / "a.png", 6)
    assert load_image(path)[1] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_size_than_the_annotations_name_is_refused(tmp_path):
    corners().save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"size \(h, w\) is \(20, 30\), expected \(20, 31\)"):
        load_image(tmp_path / "a.png", (20, 31))


def noise_file(path, size=(64, 64)):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tiff"])
def test_a_truncated_file_is_refused(suffix, tmp_path):
    path = noise_file(tmp_path / f"a.{suffix}")
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ImageError):
        load_image(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "not an image"), (b"%PDF-1.4 hello", "not an image"), (None, "no such file")],
)
def test_what_is_no_image_says_so(content, said, tmp_path):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    for read in (read_header, load_image):
        with pytest.raises(ImageError, match=said):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_header, load_image])
def test_a_decompression_bomb_is_refused(read, tmp_path, monkeypatch):
    path = noise_file(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="decompression bomb"):
        read(path)


@pytest.mark.parametrize("values", [[0, 70000], [-1, 5]])
def test_integers_beyond_16_bits_are_refused(values, tmp_path):
    Image.fromarray(np.array([values], np.int32)).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=rf"reach {values[0]}\.\.{values[1]}, expected 0\.\.65535"):
        load_image(tmp_path / "a.tiff")


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")  # Pillow warns of the damage it finds
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tiff", "dds"])
def test_damaged_bytes_are_a_reason_and_never_another_error(suffix, tmp_path):
    path = noise_file(tmp_path / f"a.{suffix}", (16, 16))
    raw, rng = path.read_bytes(), random.Random(0)
    reasons = []
    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(rng.choice([1, 3, 9])):
            damaged[rng.randrange(min(len(raw), 150))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_header(path)
            load_image(path)
        except ImageError as error:
            reasons.append(str(error))
    assert len(reasons) > 10
    assert all(reasons)


@pytest.mark.parametrize("read", [load_image, read_header, load_deep_values, has_deep_pixels])
def test_an_error_after_ctrl_c_is_no_damage(read, tmp_path, monkeypatch):
    """Pillow takes an interrupt while it loads a decoder for a decoder that is not installed."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)

    def interrupted(*arguments, **named):
        monkeypatch.setattr(interrupt, "_interrupted", True)
        raise OSError("something was in the way")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read(path)
