"""Videos are predicted frame by frame, and go on where they were interrupted."""

import json
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from fdet.cache.errors import FeatureError, InputError
from fdet.pipeline.dataset.images.decoding import ImageError
from fdet.pipeline.tools.prediction.finder import Finder
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.tools.prediction.video import count_frames, frames_of, upright

av = pytest.importorskip("av")


def make_video(path, count, size=(64, 48)):
    """Frames whose grey is 10, 20, 30, ..."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for k in range(1, count + 1):
            frame = av.VideoFrame.from_image(Image.new("RGB", size, (10 * k,) * 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("every", [1, 3, 20])
def test_frames_are_numbered_from_one_and_in_order(every, tmp_path):
    path = make_video(tmp_path / "a.mp4", 7)
    frames = [(frame.number, frame.image()) for frame in frames_of(path, every)]
    assert [number for number, _ in frames] == list(range(1, 8, every))
    assert count_frames(path, every) == len(frames)
    for number, image in frames:
        assert (image.mode, image.size) == ("RGB", (64, 48))
        assert np.asarray(image).mean() == pytest.approx(10 * number, abs=4)


def test_a_frame_is_turned_as_the_video_says():
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for degrees in (0, 90, -90, 180, -180, 270, 89):
        turned = np.asarray(upright(image, degrees))
        assert (turned == np.rot90(np.asarray(image), round(degrees / 90))).all()


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99])
def test_what_is_no_video_is_said(content, tmp_path):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ImageError, match=r"[Ii]nvalid"):
        list(frames_of(tmp_path / "a.mp4"))
    assert count_frames(tmp_path / "a.mp4") == 1


def test_frames_get_names_ids_and_pictures_after_those_of_images(small_run, photos, tmp_path):
    clips = [make_video(tmp_path / f"{name}.mp4", count) for name, count in (("x", 3), ("y", 2))]
    summary = predict(small_run, [*clips, photos / "10.png"], tmp_path / "out")
    assert (summary.images, summary.new, summary.failed) == (6, 6, {})
    lines = [
        json.loads(x) for x in (tmp_path / "out" / "detections.jsonl").read_text().splitlines()
    ]
    assert [(line["image_id"], line["file_name"]) for line in lines] == [
        (1, "10.png"),
        *((k + 1, f"x/{k:06d}") for k in (1, 2, 3)),
        *((k + 4, f"y/{k:06d}") for k in (1, 2)),
    ]
    assert (tmp_path / "out" / "pictures" / "y" / "000002.jpg").is_file()
    assert predict(small_run, [*clips, photos / "10.png"], tmp_path / "out").new == 0


def test_an_interrupted_video_goes_on(small_run, tmp_path, monkeypatch):
    clips = [make_video(tmp_path / f"{name}.mp4", 5) for name in "xy"]
    options = PredictOptions(every=2, threads=1)
    predict(small_run, clips, tmp_path / "whole", options)
    real, calls = Finder.find, []

    def find(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(Finder, "find", find)
    with pytest.raises(KeyboardInterrupt):
        predict(small_run, clips, tmp_path / "out", options)
    assert predict(small_run, clips, tmp_path / "out", options).new == 2
    for name in ("detections.jsonl", "detections.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_frame_whose_picture_is_missing_is_done_again(small_run, tmp_path):
    clips = [make_video(tmp_path / f"{name}.mp4", 3) for name in "xy"]
    predict(small_run, clips, tmp_path / "out")
    before = (tmp_path / "out" / "detections.jsonl").read_bytes()
    (tmp_path / "out" / "pictures" / "x" / "000002.jpg").unlink()
    assert predict(small_run, clips, tmp_path / "out").new == 1
    after = (tmp_path / "out" / "detections.jsonl").read_bytes()
    assert sorted(after.splitlines()) == sorted(before.splitlines())


def test_a_frame_that_failed_is_tried_again(small_run, tmp_path, monkeypatch):
    path = make_video(tmp_path / "x.mp4", 3)
    real, calls = Finder.find, []

    def find(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise FeatureError("infinite", 0)
        return real(self, *arguments)

    monkeypatch.setattr(Finder, "find", find)
    summary = predict(small_run, [path], tmp_path / "out")
    assert summary.failed == {f"{path} (x/000002)": "infinite"}
    assert summary.images == 2
    again = predict(small_run, [path], tmp_path / "out")
    assert (again.failed, again.images, again.new) == ({}, 3, 1)


def test_a_video_that_breaks_off_keeps_its_frames_and_is_reported(small_run, tmp_path):
    whole = make_video(tmp_path / "a.avi", 40, (320, 240))
    cut = tmp_path / "b.avi"
    cut.write_bytes(whole.read_bytes()[:200])
    good = make_video(tmp_path / "c.mp4", 2)
    summary = predict(small_run, [cut, good], tmp_path / "out")
    assert list(summary.failed) == [str(cut)]
    assert summary.images == 2


def test_a_video_that_is_damaged_further_on_is_reported_each_time(small_run, tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4", 3)

    def damaged(path, every):
        yield from islice(frames_of(path, every), 2)
        raise ImageError("after frame 2: damaged")

    monkeypatch.setattr("fdet.pipeline.tools.prediction.shots.frames_of", damaged)
    for new in (2, 0):
        summary = predict(small_run, [path], tmp_path / "out")
        assert summary.failed == {str(path): "after frame 2: damaged"}
        assert (summary.images, summary.new) == (2, new)


def test_a_video_that_was_replaced_is_refused(small_run, tmp_path):
    path = make_video(tmp_path / "a.mp4", 2)
    predict(small_run, [path], tmp_path / "out")
    make_video(path, 3)
    with pytest.raises(InputError, match=r"a\.mp4 has changed since"):
        predict(small_run, [path], tmp_path / "out")


def test_annotations_name_no_frames(small_run, dataset, tmp_path):
    path = make_video(tmp_path / "a.mp4", 2)
    with pytest.raises(InputError, match="names no such image"):
        predict(small_run, [path], tmp_path / "out", PredictOptions(annotations=dataset))
