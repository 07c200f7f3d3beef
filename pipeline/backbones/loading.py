"""The loading of a backbone by its name, or by the key of the cache that it made."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...cache.errors import InputError, KeyMismatch, did_you_mean
from ...cache.key import CacheKey
from ...cache.pyramid import LevelSpec
from . import weights as weights_file
from .frozen import PRECISIONS, FrozenBackbone
from .taps import TORCHVISION, Taps
from .timm_taps import timm_taps
from .torchvision_taps import torchvision_taps
from .weights import Weights

DEFAULT_STRIDES = (8, 16, 32)


def load_backbone(
    name: str,
    *,
    weights: str | None = None,
    levels: Sequence[str] | None = None,
    precision: str = "fp32",
    seed: int = 0,
    device: torch.device | str = "cpu",
    image_vectors: bool = False,
) -> FrozenBackbone:
    """Load a timm model by its name, or a torchvision ResNet as 'torchvision/resnet50'.

    weights: a file, "random" (drawn from `seed`), or None (an installed package, else a download). levels:
    the names of the levels, or None for strides 8, 16 and 32, or for the last tap of a plain ViT.
    image_vectors: whether to compute a vector of each image as a whole too. Raises InputError.
    """
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision!r}{did_you_mean(precision, PRECISIONS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        taps = torchvision_taps(name) if name.startswith(TORCHVISION) else timm_taps(name)
    chosen = _choose(name, taps.available, levels)
    found = weights_file.find_weights(name, weights, taps.download)
    if found is None:
        sha256, origin = weights_file.digest(taps.model.state_dict()), weights_file.RANDOM
    else:
        sha256, origin = _load(taps, found), found.origin
    backbone = FrozenBackbone(name, taps, chosen, precision, sha256, origin, image_vectors)
    return backbone.to(device)


def load_backbone_of(
    key: CacheKey,
    device: torch.device,
    weights: str | None = None,
    *,
    option: str = "--weights",
    image_vectors: bool = False,
) -> FrozenBackbone:
    """Load the backbone that made a cache.

    option: the option by which `weights` are given. image_vectors: whether to compute image vectors too, if
    the cache has them. Raises InputError, KeyMismatch where other weights are found.
    """
    if key.weights_origin == "random" and weights is None:
        weights = "random"
    if key.weights_origin == "file" and weights is None:
        raise InputError(
            f"the cache was made with weights from a file (sha256 of its tensors "
            f"{key.weights_sha256[:12]}...); give it again with {option} FILE"
        )
    backbone = load_backbone(
        key.backbone,
        weights=weights,
        levels=key.levels.names,
        precision=key.precision,
        seed=key.seed,
        device=device,
        image_vectors=image_vectors and key.image_vector is not None,
    )
    if backbone.weights_sha256 != key.weights_sha256:
        raise KeyMismatch(
            f"the weights of {key.backbone} found here ({backbone.weights_sha256[:12]}...) are not "
            f"those of the cache ({key.weights_sha256[:12]}...); give those with {option} FILE"
        )
    return backbone


def random_backbone_of(key: CacheKey, device: torch.device, seed: int) -> FrozenBackbone:
    """Load the architecture of a cache's backbone with weights drawn from `seed`."""
    return load_backbone(
        key.backbone,
        weights=weights_file.RANDOM,
        levels=key.levels.names,
        seed=seed,
        device=device,
    )


def _choose(
    name: str, available: Sequence[LevelSpec], levels: Sequence[str] | None
) -> tuple[int, ...]:
    names = [level.name for level in available]
    if levels is None:
        usual = [k for k, level in enumerate(available) if level.stride in DEFAULT_STRIDES]
        several = len({available[k].stride for k in usual}) == len(usual) and usual
        return tuple(usual) if several else (len(available) - 1,)
    for level in levels:
        if level not in names:
            raise InputError(f"--levels: {name} has no level {level!r}; it has {', '.join(names)}")
    chosen = tuple(sorted({names.index(level) for level in levels}))
    if len(chosen) != len(levels):
        raise InputError(f"--levels: {','.join(levels)!r} names a level twice")
    return chosen


def _load(taps: Taps, found: Weights) -> str:
    """Load the tensors and return their digest; only the classifier may be missing or differ."""
    target = taps.model.state_dict()
    tensors = weights_file.fit_names(found.tensors, target)
    backbone = {n: v for n, v in target.items() if not n.startswith(taps.classifier)}
    usable = {n: tensors[n] for n in backbone if n in tensors}
    missing = [n for n in backbone if n not in usable and not n.endswith("num_batches_tracked")]
    misshapen = [n for n, v in usable.items() if v.shape != backbone[n].shape]
    if missing or misshapen:
        wrong = missing or misshapen
        what = "tensors are missing" if missing else "tensors have another shape"
        raise InputError(
            f"--weights: they do not fit the backbone: {len(wrong)} of {len(backbone)} {what}, "
            f"e.g. {wrong[0]!r}; expected the weights of this very model"
        )
    taps.model.load_state_dict(usable, strict=False)
    return weights_file.digest(usable)
