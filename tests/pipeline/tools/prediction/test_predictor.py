"""`fdet.load` gives what `fdet predict` finds, from paths and images; its errors name its parameters."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

import fdet
from fdet.cache.errors import CorruptCache, FdetError, InputError
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.tools.prediction.predictor import as_python


@pytest.fixture(scope="module")
def loaded(small_run):
    return fdet.load(small_run, device="cpu", threshold=0)


def test_it_finds_what_predict_finds(loaded, small_run, photos, tmp_path):
    predict(small_run, [photos / "10.png"], tmp_path / "out", PredictOptions(threads=1))
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    found = loaded(photos / "10.png")
    assert len(found) == len(results) > 0
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (r["bbox"] for r in results)]
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, [r["score"] for r in results], atol=1e-6)
    assert list(found.class_names) == [r["category_name"] for r in results]
    assert [loaded.class_ids[k] for k in found.labels] == [r["category_id"] for r in results]
    assert found.hw == (128, 128)


def test_a_path_a_text_and_an_image_give_the_same_and_a_list_a_list(loaded, photos):
    path = photos / "10.png"
    first = loaded(path)
    with Image.open(path) as image:
        others = [loaded(str(path)), loaded(image), *loaded([path, str(path), image])]
    assert len(others) == 5
    for other in others:
        assert (other.boxes == first.boxes).all() and other.class_names == first.class_names
    assert loaded([]) == []


def test_an_image_is_turned_upright_like_its_file(loaded, photos, tmp_path):
    with Image.open(photos / "10.png") as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.crop((0, 0, 128, 64)).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        found = loaded(image)
    assert found.hw == loaded(tmp_path / "turned.png").hw == (128, 64)
    assert (found.boxes == loaded(tmp_path / "turned.png").boxes).all()


def test_an_image_of_any_mode_is_taken(loaded, photos):
    with Image.open(photos / "10.png") as image:
        for mode in ("L", "RGBA", "P", "1", "CMYK"):
            assert loaded(image.convert(mode)).hw == (128, 128)


def test_the_threshold_is_the_lowest_score(small_run, loaded, photos):
    found = loaded(photos / "10.png")
    middle = float(found.scores[len(found) // 2])
    above = fdet.load(small_run, device="cpu", threshold=middle)(photos / "10.png")
    assert 0 < len(above) < len(found)
    assert above.scores.min() >= middle
    assert len(found.above(middle)) == len(above) == len(above.labels) == len(above.class_names)


def test_nms_over_all_classes_finds_each_place_once(small_run, loaded, photos, tmp_path):
    across = fdet.load(small_run, device="cpu", threshold=0, nms="agnostic")

    def overlap(found):
        boxes = torch.from_numpy(found.boxes)
        return float(box_iou(boxes, boxes).fill_diagonal_(0).max())

    named = photos / "10.png"
    most = across.finder.known.config.head.nms_iou + 1e-4
    assert overlap(across(named)) <= most < overlap(loaded(named))
    options = PredictOptions(threads=1, nms="agnostic")
    predict(small_run, [named], tmp_path / "out", options)
    results = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [r["score"] for r in results] == pytest.approx(across(named).scores.tolist(), abs=1e-6)


def test_what_is_found_cannot_be_changed_by_accident(loaded, photos):
    found = loaded(photos / "10.png")
    with pytest.raises(AttributeError):
        found.scores = None


WRONG = {
    "device": ({"device": "cdua"}, "device cdua: not usable here"),
    "checkpoint": ({"checkpoint": "bst"}, "checkpoint 'bst': expected 'best' or 'last'"),
    "threshold": ({"threshold": 30}, "threshold: expected 0 to 1, or auto, got 30"),
    "weights": ({"weights": "no.pth"}, "weights no.pth: no such file"),
    "nms": ({"nms": "agnostc"}, "nms 'agnostc'; did you mean 'agnostic'?"),
    "second": ({"second_weights": "random"}, "second_weights: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_parameters_and_no_options(case, small_run):
    options, said = WRONG[case]
    with pytest.raises(InputError) as error:
        fdet.load(small_run, **options)
    assert str(error.value).startswith(said)
    assert "--" not in str(error.value)


def test_a_checkpoint_that_is_missing_names_the_parameter(small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    (run / "best.safetensors").unlink()
    with pytest.raises(InputError) as error:
        fdet.load(run)
    assert "checkpoint last" in str(error.value) and "--" not in str(error.value)
    (run / "best.safetensors").write_bytes(b"damaged")
    with pytest.raises(CorruptCache) as damaged:
        fdet.load(run, device="cpu")
    assert "--" not in str(damaged.value)


@pytest.mark.parametrize("given", ["no.jpg", "text.txt"])
def test_a_file_that_is_no_image_is_named(given, loaded, tmp_path):
    (tmp_path / "text.txt").write_text("no image")
    with pytest.raises(InputError, match=f"{given}: no"):
        loaded(tmp_path / given)


def test_other_things_are_refused(loaded):
    with pytest.raises(InputError, match="expected a path, an image of PIL, or a list of these"):
        loaded(3)


def test_text_between_options_stays():
    with (
        pytest.raises(FdetError, match=r"^a-b second_weights x: give class_embeddings; -- no$"),
        as_python(),
    ):
        raise FdetError("a-b --with-weights x: give --class-embeddings; -- no")
