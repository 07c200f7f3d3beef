"""An exported file finds what the run finds: by the program beside it, by predict and by evaluate."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from fdet.cache.errors import CorruptCache, InputError
from fdet.pipeline.cli import app
from fdet.pipeline.evaluation.evaluate import evaluate_run
from fdet.pipeline.evaluation.options import EvaluateOptions
from fdet.pipeline.exported.description import Description, read_description
from fdet.pipeline.runs.info import RunInfo
from fdet.pipeline.tools.exporting.options import ExportOptions
from fdet.pipeline.tools.exporting.proof import Proof, prove
from fdet.pipeline.tools.exporting.report import proof_lines
from fdet.pipeline.tools.prediction.options import PredictOptions
from fdet.pipeline.tools.prediction.predict import predict
from fdet.pipeline.tools.prediction.predictor import load

pytestmark = pytest.mark.slow


@pytest.fixture
def checking(trained, dataset, briefly) -> ExportOptions:
    return ExportOptions(check=trained / "cache.fdet", images=dataset.parent / "images")


@pytest.fixture
def copied(exported, tmp_path):
    """The files in a folder of their own, which a test may change."""
    shutil.copytree(exported.model.parent, tmp_path / "file")
    paths = {
        n: tmp_path / "file" / getattr(exported, n).name for n in ("model", "about", "program")
    }
    return replace(exported, **paths)


def proof_of(trained, files, checking) -> Proof:
    return prove(trained / "run", files.model, files.program, files.description, checking)


def test_the_file_finds_the_same(trained, exported, checking):
    proof = proof_of(trained, exported, checking)
    assert proof.failures == []
    assert proof.agreement.share == 1.0
    assert proof.agreement.same > 50
    assert proof.images == 12
    assert proof.found == pytest.approx(proof.expected, abs=1e-6)
    assert set(proof.times) == {1, 0}
    assert "finds the same" in list(proof_lines(proof))[-1]


CHANGES = {
    "BGR": ("np.float32) / 255\n", "np.float32)[:, :, ::-1] / 255\n"),
    "interpolation": ("Resampling.BILINEAR", "Resampling.BICUBIC"),
    "no antialiasing": (
        "image.resize((width, height), Image.Resampling.BILINEAR)",
        "image.transform((width, height), Image.Transform.AFFINE, "
        "(image.width / width, 0, 0, 0, image.height / height, 0), Image.Resampling.BILINEAR)",
    ),
    "padding": ("canvas = np.zeros(", "canvas = -np.ones("),
    "no padding": (
        "width, height = (max(1, round(side * factor)) for side in image.size)\n    if",
        "width, height = columns, rows\n    if",
    ),
    "normalisation": ('- np.float32(ABOUT["mean"])', "- np.float32([0.5, 0.4, 0.5])"),
    "scale": ("np.float32) / 255\n", "np.float32) / 256\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_caller_may_get_wrong_fails_the_proof(change, trained, copied, checking):
    text, (old, new) = copied.program.read_text(), CHANGES[change]
    assert text.count(old) == 1
    copied.program.write_text(text.replace(old, new))
    proof = proof_of(trained, copied, checking)
    assert proof.agreement.share < 0.9
    assert "of the detections are the same, expected 95%" in proof.failures[0]
    assert any(line.startswith("FAILED: ") for line in proof_lines(proof))


def test_other_weights_fail_the_proof(trained, copied, checking):
    proto = onnx.load(copied.model)
    for weight in (one for one in proto.graph.initializer if len(one.dims) == 4):
        values = np.frombuffer(weight.raw_data, np.float32) * np.float32(1.01)
        weight.raw_data = values.tobytes()
    onnx.save(proto, copied.model)
    assert proof_of(trained, copied, checking).failures


def test_the_program_needs_no_torch(trained, copied, dataset):
    """It prints what reaches the thresholds; all boxes are those of predict."""
    photo = next((dataset.parent / "images").glob("*.png"))
    program = (
        "import json, sys; sys.modules['torch'] = sys.modules['fdet'] = None\n"
        f"sys.path.insert(0, {str(copied.program.parent)!r}); import infer\n"
        f"print(json.dumps([x.tolist() for x in infer.detect({str(photo)!r})]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    boxes, scores, labels = json.loads(done.stdout)
    expected = load(trained / "run", threshold=0.0)(photo)
    assert labels == expected.labels.tolist()
    np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(boxes, expected.boxes, atol=0.01)
    assert len(copied.program.read_text().splitlines()) < 75
    lines = subprocess.run(
        [sys.executable, copied.program, photo], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(lines) == sum(score >= 0.3 for score in scores)


def test_predict_and_evaluate_take_the_file_as_a_run(trained, exported, dataset, tmp_path):
    images, cache = dataset.parent / "images", trained / "cache.fdet"
    _, expected = evaluate_run(trained / "run", cache)
    metrics, found = evaluate_run(exported.model, cache, EvaluateOptions(images=images))
    of_run, _ = evaluate_run(trained / "run", cache)
    assert metrics.ap == pytest.approx(of_run.ap, abs=1e-3)
    options = PredictOptions(annotations=dataset, recursive=True, pictures="none")
    predict(exported.model, [images], tmp_path / "out", options)
    predicted = json.loads((tmp_path / "out" / "detections.json").read_text())
    order = lambda r: (r["image_id"], -r["score"], r["bbox"])  # noqa: E731
    assert len(expected) == len(found) == len(predicted) > 50
    for mine, also, theirs in zip(
        *(sorted(x, key=order) for x in (found, predicted, expected)), strict=True
    ):
        assert mine["category_id"] == also["category_id"] == theirs["category_id"]
        np.testing.assert_allclose(mine["bbox"], theirs["bbox"], atol=0.01)
        np.testing.assert_allclose(also["bbox"], theirs["bbox"], atol=0.01)
        assert mine["score"] == pytest.approx(theirs["score"], abs=1e-4)


def test_options_that_are_inside_the_file_are_refused(exported, dataset, trained):
    with pytest.raises(InputError, match=r"--nms: .* is an exported file"):
        evaluate_run(exported.model, trained / "cache.fdet", EvaluateOptions(nms="agnostic"))
    with pytest.raises(InputError, match="takes images, not cached maps; give --images"):
        evaluate_run(exported.model, trained / "cache.fdet")


def test_the_batch_may_have_any_size(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported.model)
    x = np.random.default_rng(0).standard_normal((5, 3, 64, 64)).astype(np.float32)
    sizes = np.array([[64, 64]] * 5)
    together = session.run(None, {"images": x, "sizes": sizes})
    one = session.run(None, {"images": x[3:4], "sizes": sizes[3:4]})
    for mine, theirs in zip(one, together, strict=True):
        np.testing.assert_allclose(mine[0], theirs[3], atol=1e-4)


def test_the_description_is_in_the_file_and_beside_it(trained, exported):
    info = RunInfo.read(trained / "run")
    text = exported.about.read_text()
    assert {e.key: e.value for e in onnx.load(exported.model).metadata_props} == {"fdet": text}
    described = read_description(exported.model)
    assert described == exported.description == Description.parse(text, exported.about)
    assert described.info == info
    assert described.info.digest == info.digest
    data = json.loads(text)
    assert data["mean"] == list(info.key.mean)
    assert [c["name"] for c in data["classes"]] == list(info.class_names)
    assert (data["canvas"], data["channels"]) == ([64, 64], "RGB")


def test_files_of_others_and_damaged_ones_are_refused(exported, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not onnx")
    with pytest.raises(CorruptCache, match="no description of fdet"):
        read_description(tmp_path / "a.onnx")
    text = exported.about.read_text()
    for old, new in [('"include": "nms"', '"include": "all"'), ("[\n  64", "[\n  -4")]:
        assert old in text
        with pytest.raises(CorruptCache, match="unreadable"):
            Description.parse(text.replace(old, new), exported.about)


def test_the_command_exits_with_4_where_the_file_differs(
    trained, dataset, tmp_path, briefly, monkeypatch
):
    from fdet.pipeline.tools.exporting import script

    words = ["export", str(trained / "run"), "--check", str(trained / "cache.fdet")]
    words += ["--images", str(dataset.parent / "images"), "--check-images", "4", "--out"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "a" / "model.onnx")])
    assert done.exit_code == 0, done.output
    assert "model.onnx finds the same" in done.output
    wrong = script._SCRIPT.template.replace("BILINEAR", "NEAREST")
    monkeypatch.setattr(script, "_SCRIPT", type(script._SCRIPT)(wrong))
    done = CliRunner().invoke(app, [*words, str(tmp_path / "b" / "model.onnx")])
    assert done.exit_code == 4
    assert "FAILED" in done.output


def test_raw_outputs_give_the_same_detections(trained, exported, dataset, tmp_path):
    from fdet.pipeline.exported.detector import open_detector
    from fdet.pipeline.tools.exporting.export import export

    raw = export(trained / "run", tmp_path / "raw.onnx", ExportOptions(include="raw"))
    assert raw.program is None
    assert raw.description.outputs == ("boxes", "scores")
    image = load_rgb(next((dataset.parent / "images").glob("*.png")))
    mine, theirs = (open_detector(f.model).find(image) for f in (raw, exported))
    torch.testing.assert_close(mine.boxes, theirs.boxes, rtol=0, atol=1e-3)
    assert torch.equal(mine.labels, theirs.labels)


def load_rgb(path):
    from fdet.pipeline.dataset.images.decoding import load_image

    return load_image(path)[0]
