"""Outputs have the names of their files, are unique, and can be names of files."""

import pytest

from fdet.pipeline.tools.prediction.naming import fitting, folder_names, output_names

NAMES = [
    (["a.jpg", "b.png", "sub/a.jpg"], ["a", "b", "sub/a"]),
    (["a.jpg", "a.png"], ["a", "a.png"]),
    (["a.png", "a.bmp"], ["a.png", "a.bmp"]),
    (["a.JPG", "a.png"], ["a.JPG", "a.png"]),
    (["a", "a.png"], ["a", "a.png"]),
    (["frame.0001", "frame.0002"], ["frame.0001", "frame.0002"]),
    (["a.b.jpg", "a.b.png", ".jpg"], ["a.b", "a.b.png", ".jpg"]),
    (["a.png.jpg", "a.png", "a.bmp"], ["a.png", "a.png-2", "a.bmp"]),
]


@pytest.mark.parametrize(("names", "expected"), NAMES)
def test_an_output_is_called_like_its_file_where_that_is_unique(names, expected):
    assert output_names(names, ".jpg") == expected
    assert len(set(expected)) == len(expected)


def test_no_two_outputs_share_a_name_however_the_files_are_called():
    names = ["a", "a.jpg", "a.png", "a.png.jpg", "a.png.png", "a.png-2", "a.bmp", "b/a.jpg"]
    for suffix in (".jpg", ".png"):
        outputs = output_names(names, suffix)
        assert len(set(outputs)) == len(names)
    for k in range(len(names)):
        rotated = names[k:] + names[:k]
        assert len(set(output_names(rotated, ".jpg"))) == len(names)


def test_the_frames_of_a_video_have_a_folder_of_their_own():
    names = ["clip/000001.jpg", "other.jpg", "clip.mp4", "other.mp4", "lone.mp4"]
    outputs = output_names(names, ".jpg", ["clip.mp4", "other.mp4", "lone.mp4"])
    assert outputs == ["clip/000001", "other", "clip.mp4", "other.mp4", "lone"]


def test_a_name_that_is_too_long_gives_way_to_a_number():
    assert fitting("sub/a", ".jpg", 7, "_3") == "sub/a_3.jpg"
    assert fitting("sub/" + "a" * 251, ".jpg", 7) == "sub/" + "a" * 251 + ".jpg"
    assert fitting("sub/" + "a" * 252, ".jpg", 7) == "sub/7.jpg"
    assert fitting("ä" * 126, ".jpg", 7, "_3") == "7_3.jpg"


def test_classes_become_folders_whatever_they_are_called():
    names = [
        "cat",
        "a/b",
        "..",
        "",
        "x" * 300,
        "Dog",
        "dog",
        "a\nb",
        "\udcff",
        "C:\\x",
        "a_b",
        "Kühe",
    ]
    folders = folder_names(names, range(1, 13))
    assert len({name.casefold() for name in folders}) == len(names)
    assert folders[:6] == ["cat", "class-2", "class-3", "class-4", "class-5", "class-6"]
    assert folders[-1] == "Kühe"
    for name in folders:
        assert not set("/\\:\n") & set(name) and name not in ("", ".", "..")
        name.encode()
