"""A YOLO folder without a split for validation becomes a detector, by real commands, interrupted once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ....generated import make_dataset

MODEL = (
    *("--backbone", "test_resnet", "--weights", "random", "--size", "64", "--views", "plain,hflip"),
    *(
        "--device",
        "cpu",
        "--threads",
        "1",
        "--set",
        "neck.channels=16",
        "--set",
        "neck.min_level=3",
    ),
    *("--set", "neck.max_level=5", "--set", "train.precision=fp32", "--set", "train.epochs=60"),
    *("--set", "train.eval_every=30"),
)


@pytest.fixture(scope="module")
def yolo(tmp_path_factory) -> Path:
    """Images and labels; one set without splits."""
    made = make_dataset(tmp_path_factory.mktemp("coco"), images=16)
    coco, out = json.loads(made.read_text()), tmp_path_factory.mktemp("yolo")
    for name in ("images", "labels"):
        (out / name).mkdir()
    numbers = {category["id"]: k for k, category in enumerate(coco["categories"])}
    for image in coco["images"]:
        file = image["file_name"].replace("/", "-")
        shutil.copy(made.parent / "images" / image["file_name"], out / "images" / file)
        rows = [
            (numbers[a["category_id"]], *_centred(a["bbox"], image["width"], image["height"]))
            for a in coco["annotations"]
            if a["image_id"] == image["id"] and not a["iscrowd"]
        ]
        text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
        (out / "labels" / file).with_suffix(".txt").write_text(text)
    names = [category["name"] for category in coco["categories"]]
    (out / "data.yaml").write_text(f"names: {json.dumps(names)}\ntrain: images\n")
    return out


def _centred(box, width: int, height: int) -> tuple[float, ...]:
    x, y, w, h = box
    return (x + w / 2) / width, (y + h / 2) / height, w / width, h / height


def command(yolo: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "fdet", "fit", str(yolo), "--out", str(out), *MODEL, *more]


def finished(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
def test_a_folder_becomes_a_detector_though_it_is_interrupted(yolo, tmp_path):
    out = tmp_path / "work"
    process = subprocess.Popen(
        command(yolo, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 500
    while not (out / "run" / "metrics.jsonl").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # As a terminal does it: the whole process group.
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 130, f"{said}\n{errors}"
    assert errors.count("run the same command to continue") == 1
    # Where no exception can leave, as in a destructor, the interpreter says so, and the command goes on.
    assert "Traceback" not in errors or "Exception ignored in" in errors
    assert errors.count("interrupted") == 1
    assert not (out / "report.html").exists()

    second = finished(command(yolo, out))
    assert second.returncode == 0, f"{second.stdout}\n{second.stderr}"
    for line in ("done before: fdet extract", "done before: fdet dataset split", " --resume"):
        assert line in second.stdout
    assert second.stdout.count("what to do next:") <= 1
    assert (out / "report.html").stat().st_size > 10_000
    assert list((out / "found" / "pictures").glob("*.jpg"))
    epochs = [
        json.loads(line)["epoch"]
        for line in (out / "run" / "metrics.jsonl").read_text().splitlines()
        if '"eval"' in line
    ]
    assert epochs == [30, 60]

    changed = finished(command(yolo, out, "--seed", "4"))
    assert changed.returncode == 2
    assert (
        changed.stderr.startswith("fdet: --seed: it was 0 when") and changed.stderr.count("\n") == 1
    )
