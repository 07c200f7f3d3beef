"""Windows of image files: the pixels of the whole, decoded once, and large files in parts."""

import hashlib
import threading
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from fdet.cache.windows import Window, window_name
from fdet.pipeline.dataset.images import decoding, photographs
from fdet.pipeline.dataset.images.decoding import (
    ImageError,
    file_sha256,
    load_image,
    open_photograph,
    read_header,
    read_header_of_any_size,
    show_photograph,
)
from fdet.pipeline.dataset.images.photographs import LastPhotographs, Photograph

WINDOW = Window(30, 7, 50, 40)
needs_vips = pytest.mark.skipif(find_spec("pyvips") is None, reason="the extra large is not there")


def smooth(mode="RGB", size=(120, 90)):
    """Noise without fine detail, which every JPEG decoder gives alike."""
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "LA": 2}[mode]
    values = np.random.default_rng(0).integers(0, 256, (9, 12, channels)).astype(np.uint8)
    return Image.fromarray(values.squeeze()).resize(size, Image.Resampling.BICUBIC)


def windowed(path, window=WINDOW):
    return path.parent / window_name(path.name, window)


def pixels(image):
    return np.asarray(image).astype(int)


def expected(path):
    x, y, width, height = WINDOW
    return pixels(load_image(path)[0])[y : y + height, x : x + width]


@pytest.fixture
def few_pixels(monkeypatch):
    """Files of a test are larger than are decoded at once, and windows are not."""
    monkeypatch.setattr(decoding, "MAX_PIXELS", 5000)


@pytest.fixture
def counted(monkeypatch):
    """The files that were decoded as a whole; nothing is kept from other tests."""
    decoded = []
    whole = decoding._load_whole

    def counting(path, *more):
        decoded.append(path)
        return whole(path, *more)

    monkeypatch.setattr(decoding, "_load_whole", counting)
    monkeypatch.setattr(decoding, "_LAST", LastPhotographs())
    return decoded


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_window_is_cut_from_the_upright_image(orientation, tmp_path):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth(size=(100, 100)).save(path, exif=exif)
    found, sha256 = load_image(windowed(path), WINDOW.hw)
    assert np.array_equal(pixels(found), expected(path))
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == file_sha256(windowed(path))
    assert read_header(windowed(path)).upright_hw == WINDOW.hw


def test_a_file_is_decoded_once_for_all_of_its_windows_and_threads(tmp_path, counted):
    path = tmp_path / "a.png"
    smooth().save(path)
    names = [windowed(path, Window(x, 0, 50, 40)) for x in range(0, 70, 5)]
    threads = [threading.Thread(target=load_image, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [path]


def test_a_file_that_has_changed_is_decoded_again(tmp_path, counted):
    path = tmp_path / "a.png"
    smooth().save(path)
    before = pixels(load_image(windowed(path))[0])
    smooth().transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    assert not np.array_equal(pixels(load_image(windowed(path))[0]), before)
    assert counted == [path, path]


def test_as_many_photographs_are_kept_as_fit(monkeypatch):
    monkeypatch.setattr(photographs, "KEPT_BYTES", 100)
    last, read = LastPhotographs(), []

    def get(key, nbytes):
        def photograph():
            read.append(key)
            return Photograph((1, 1), lambda of: None, lambda: None, "", nbytes)

        last.get(key, photograph)

    for key, nbytes in [("a", 30), ("b", 30), ("a", 30), ("c", 500), ("c", 500), ("b", 30)]:
        get(key, nbytes)
    assert read == ["a", "b", "c", "b"]


def test_a_file_that_really_has_such_a_name_is_read_as_a_whole(tmp_path):
    path = windowed(tmp_path / "a.png")
    smooth().save(path, "PNG")
    assert load_image(path)[0].size == (120, 90)


@pytest.mark.parametrize("read", [load_image, read_header])
@pytest.mark.parametrize("window", [Window(100, 0, 50, 40), Window(0, 80, 10, 11)])
def test_a_window_beyond_the_image_says_that_the_file_was_another(read, window, tmp_path):
    smooth().save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"has 120 x 90 pixels, and the window .* is not within"):
        read(windowed(tmp_path / "a.png", window))


def test_a_window_of_another_size_than_the_layout_says_is_refused(tmp_path):
    smooth().save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="expected"):
        load_image(windowed(tmp_path / "a.png"), (41, 50))


def test_a_window_may_not_be_too_large_either(tmp_path, few_pixels):
    smooth().save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="a window of 100 x 90 pixels, expected at most 5000"):
        read_header(windowed(tmp_path / "a.png", Window(0, 0, 100, 90)))


def test_a_large_image_says_how_to_cut_it(tmp_path, few_pixels):
    smooth().save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="expected at most 5000; cut it by --tiles"):
        load_image(tmp_path / "a.png")
    assert read_header_of_any_size(tmp_path / "a.png").upright_hw == (90, 120)


def test_windows_of_a_large_image_need_an_extra(tmp_path, few_pixels, monkeypatch):
    smooth().save(tmp_path / "a.png")
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"pip install 'frozendet\[large\]'"):
        load_image(windowed(tmp_path / "a.png"))


@needs_vips
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_windows_of_large_images_have_the_pixels_that_pillow_gives(
    mode, suffix, tmp_path, monkeypatch
):
    if suffix == "jpg" and mode.endswith("A"):
        pytest.skip("JPEG has no transparency")
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 1 if suffix == "tif" else 6
    smooth(mode).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    window = Window(20, 30, 50, 40)
    whole = pixels(load_image(path)[0])[30:70, 20:70]
    monkeypatch.setattr(decoding, "MAX_PIXELS", 5000)
    found, sha256 = load_image(windowed(path, window))
    assert np.abs(pixels(found) - whole).max() <= (2 if suffix == "jpg" else 0)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@needs_vips
def test_what_is_shown_of_a_large_image_is_scaled_down(tmp_path, few_pixels, monkeypatch):
    monkeypatch.setattr(photographs, "SHOWN_SIDE", 60)
    smooth().save(tmp_path / "a.png")
    assert show_photograph(open_photograph(tmp_path / "a.png")).size == (60, 45)


@needs_vips
def test_what_cannot_be_read_in_parts_says_so(tmp_path, few_pixels):
    Image.fromarray(np.zeros((90, 120), np.uint16)).save(tmp_path / "deep.png")
    smooth().save(tmp_path / "a.bmp")
    for name, said in (("deep.png", "needs 8-bit grey or RGB"), ("a.bmp", "is read from JPEG")):
        with pytest.raises(ImageError, match=said):
            load_image(windowed(tmp_path / name))
