"""`fdet predict` as a user sees it: what is printed, and the exit status."""

import logging
import re

import pytest
from typer.testing import CliRunner

from fdet.pipeline.cli import app


@pytest.fixture
def fdet(small_run, photos, tmp_path):
    """A function that predicts the photos into the folder out."""
    level = logging.getLogger("fdet").level

    def run(*words, images=(photos,)):
        begin = ["predict", small_run, *images, "--out", tmp_path / "out", "--device", "cpu"]
        return CliRunner().invoke(app, [str(word) for word in (*begin, *words)])

    yield run
    logging.getLogger("fdet").setLevel(level)


def test_the_last_line_states_the_times_and_the_one_before_what_is_written(fdet, tmp_path):
    done = fdet("--format", "csv", "--pictures", "none")
    assert done.exit_code == 0, done.output
    written, times = done.stdout.splitlines()
    assert re.fullmatch(
        rf"5 images, \d+ detections \(\d+ >= [\d.]+\) in {tmp_path}/out: detections.jsonl, detections.csv",
        written,
    )
    assert re.fullmatch(
        r"[\d.]+ images/s; ms an image: decode [\d.]+, backbone [\d.]+, head [\d.]+, output [\d.]+",
        times,
    )


def test_done_before_is_said_and_is_no_failure(fdet, tmp_path):
    first = fdet()
    again = fdet()
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert again.stdout.splitlines() == [
        f"{tmp_path / 'out'}: every image was done before; --overwrite starts anew",
        first.stdout.splitlines()[0],
    ]


def test_another_prediction_is_one_line_and_status_two(fdet):
    assert fdet().exit_code == 0
    refused = fdet("--threshold", "0.5")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert "it holds another prediction: --threshold was 0.3, is 0.5" in refused.stderr
    assert fdet("--threshold", "0.5", "--overwrite").exit_code == 0


def test_what_could_not_be_read_is_named_and_is_status_three(fdet, photos):
    (photos / "bad.png").write_bytes(b"no image")
    for _ in range(2):
        done = fdet()
        assert done.exit_code == 3
        assert f"failed: {photos / 'bad.png'}: not an image that can be read" in done.stderr


WRONG = [
    (["--format", "lvis"], "that of the annotations is --annotations-format"),
    (["--format", "cocoa"], "--format 'cocoa': expected coco, yolo, voc, csv, jsonl"),
    (["--pictures", "pgn"], "--pictures 'pgn'; did you mean 'png'?"),
    (["--split", "val"], "--split val: it goes with --annotations"),
    (["--annotations-format", "coco"], "--annotations-format coco: it goes with --annotations"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_a_wrong_option_is_one_line(words, said, fdet, tmp_path):
    refused = fdet(*words)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_images_in_subfolders_alone_name_the_option(fdet, photos, tmp_path):
    (tmp_path / "above").mkdir()
    photos.rename(tmp_path / "above" / "photos")
    refused = fdet(images=[tmp_path / "above"])
    assert refused.exit_code == 2
    assert "but 6 in subfolders: add --recursive to take them" in refused.stderr
    assert fdet("--recursive", images=[tmp_path / "above"]).stdout.startswith("6 images")


def test_the_annotations_may_say_their_format(fdet, dataset):
    done = fdet("--annotations", dataset, "--annotations-format", "coco", "--format", "yolo")
    assert done.exit_code == 0, done.output
    refused = fdet("--annotations", dataset, "--annotations-format", "cooc", "--overwrite")
    assert "'cooc'; did you mean 'coco'?" in refused.stderr
