"""Lines of a run, and a picture."""

import io

import pytest
from PIL import Image

TRAIN_LINE = {
    "kind": "train",
    "step": 10,
    "epoch": 1,
    "lr": 5e-4,
    "loss": 1.5,
    "losses": {"box": 0.5, "class": 1.0},
    "images_per_second": 31.5,
    "waiting": 0.01,
    "process_memory_mb": 900,
}
EVAL_LINE = {
    "kind": "eval",
    "step": 20,
    "epoch": 2,
    "metrics": {
        **{"ap": 0.25, "ap_small": None, "per_class": {"disc": 0.5, "": None}, "images": 4},
        **{"objects": {"disc": 3}, "sizes": {"small": 3}},
    },
}
PARAMETERS = {"neck": {"name": "fpn", "channels": 256}, "optim": {"lr": 5e-4}}


@pytest.fixture(scope="session")
def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(file, "PNG")
    return file.getvalue()
