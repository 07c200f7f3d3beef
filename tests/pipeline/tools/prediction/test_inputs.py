"""What is read: files that are named, and the images of folders."""

import pytest
from PIL import Image

from fdet.cache.errors import InputError
from fdet.pipeline.tools.prediction import inputs
from fdet.pipeline.tools.prediction.inputs import check_decoder, find_files, is_video


@pytest.fixture
def frames(tmp_path):
    """A folder of numbered frames, without zeros in front, and one in a subfolder."""
    (tmp_path / "frames" / "deep").mkdir(parents=True)
    for name in (*(f"f{k}.png" for k in range(1, 12)), "deep/x.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / "frames" / name)
    return tmp_path / "frames"


def names(found):
    return [name for _, name in found]


def test_every_nth_image_of_a_folder_is_taken_in_the_order_of_numbers(frames):
    found = names(find_files([frames], recursive=False, every=5))
    assert sorted(found) == ["f1.png", "f11.png", "f6.png"]


def test_a_file_that_is_named_is_taken_whatever_its_number(frames):
    found = names(find_files([frames / "f2.png", frames / "f3.png"], recursive=False, every=5))
    assert found == ["f2.png", "f3.png"]


def test_subfolders_are_looked_into_on_request(frames):
    assert len(find_files([frames], recursive=False)) == 11
    assert len(find_files([frames], recursive=True)) == 12


def test_no_images_at_all_is_said_without_an_option_that_would_not_help(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for recursive in (False, True):
        with pytest.raises(InputError, match="no images in") as error:
            find_files([tmp_path / "a"], recursive=recursive)
        assert "add --recursive" not in str(error.value)


def test_a_video_needs_its_decoder_and_says_which(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "find_spec", lambda name: None)
    check_decoder([tmp_path / "a.jpg"])
    with pytest.raises(InputError, match=r"a\.MP4: .*pip install 'frozendet\[video\]'"):
        check_decoder([tmp_path / "a.jpg", tmp_path / "a.MP4"])


def test_a_folder_is_no_video(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    assert not is_video(tmp_path / "a.mp4")
    assert is_video(tmp_path / "b.mp4")
