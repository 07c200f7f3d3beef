"""The loading of a backbone by its name, or by the key of the cache that it made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch

from ...cache.errors import InputError, KeyMismatch, did_you_mean
from ...cache.key import CacheKey
from ...cache.pyramid import LevelSpec
from .frozen import PRECISIONS, FrozenBackbone
from .known import RANDOM, TORCHVISION
from .taps import Taps
from .timm_taps import timm_taps
from .torchvision_taps import torchvision_taps
from .weights import Weights, find_weights
from .weights_file import digest
from .weights_names import Fitting, Wanted, called, different, fittings, meant, misfit

log = logging.getLogger(__name__)

DEFAULT_STRIDES = (8, 16, 32)
# A function from all levels that a model offers to the names of some.
ChooseLevels = Callable[[Sequence[LevelSpec]], Sequence[str]]


def load_backbone(
    name: str,
    *,
    weights: str | None = None,
    levels: Sequence[str] | ChooseLevels | None = None,
    precision: str = "fp32",
    seed: int = 0,
    device: torch.device | str = "cpu",
    image_vectors: bool = False,
    tokens: bool = False,
) -> FrozenBackbone:
    """Load a timm model by its name, or a torchvision ResNet as 'torchvision/resnet50'.

    weights: FILE, or FILE#NAME for one of several sets of weights in it, "random" (drawn from `seed`), or
    None (an installed package, else a download). levels: the names of the levels, or a function that chooses
    them, or None for strides 8, 16 and 32, or for the last tap of a plain ViT. image_vectors: whether to
    compute a vector of each image as a whole too. tokens: whether to compute the tokens of a ViT beside its
    maps instead. Raises InputError.
    """
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision!r}{did_you_mean(precision, PRECISIONS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        taps = torchvision_taps(name) if name.startswith(TORCHVISION) else timm_taps(name)
    names = levels(taps.available) if callable(levels) else levels
    chosen = choose_levels(name, taps.available, names)
    found = find_weights(name, weights, taps.download)
    if found is None:
        sha256, origin = digest(taps.model.state_dict()), RANDOM
    else:
        sha256, origin = _load(name, taps, found), found.origin
    given = (precision, sha256, origin, image_vectors, tokens)
    backbone = FrozenBackbone(name, taps, chosen, *given)
    return backbone.to(device)


def load_backbone_of(
    key: CacheKey,
    device: torch.device,
    weights: str | None = None,
    *,
    option: str = "--weights",
    image_vectors: bool = False,
    levels: ChooseLevels | None = None,
) -> FrozenBackbone:
    """Load the backbone that made a cache.

    option: the option by which `weights` are given. image_vectors: whether to compute image vectors, or
    tokens, too, if the cache has them. levels: a function that chooses the levels, by default those of the
    cache. Raises InputError, KeyMismatch where other weights are found.
    """
    if key.weights_origin == "random" and weights is None:
        weights = "random"
    if key.weights_origin == "file" and weights is None:
        raise InputError(
            f"the cache was made with weights from a file (sha256 of its tensors "
            f"{key.weights_sha256[:12]}...); give it again with {option} FILE"
        )
    vector = key.image_vector if image_vectors else None
    tokens = vector is not None and vector.of_tokens
    backbone = load_backbone(
        key.backbone,
        weights=weights,
        levels=levels or key.levels.names,
        precision=key.precision,
        seed=key.seed,
        device=device,
        image_vectors=vector is not None and not tokens,
        tokens=tokens,
    )
    if backbone.weights_sha256 != key.weights_sha256:
        raise KeyMismatch(
            f"the weights of {key.backbone} found here ({backbone.weights_sha256[:12]}...) are not "
            f"those of the cache ({key.weights_sha256[:12]}...); give those with {option} FILE"
        )
    return backbone


def random_backbone_of(
    key: CacheKey,
    device: torch.device,
    seed: int,
    levels: Sequence[str] | ChooseLevels | None = None,
) -> FrozenBackbone:
    """Load the architecture of a cache's backbone with weights drawn from `seed`.

    levels: the names of its levels, or a function that chooses them, by default those of the cache.
    """
    return load_backbone(
        key.backbone,
        weights=RANDOM,
        levels=levels or key.levels.names,
        seed=seed,
        device=device,
    )


def choose_levels(
    name: str, available: Sequence[LevelSpec], levels: Sequence[str] | None
) -> tuple[int, ...]:
    """Return the positions of the levels of these names, by default the usual ones. Raises InputError."""
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


def _load(name: str, taps: Taps, found: Weights) -> str:
    """Load the tensors and return their digest; only the classifier may be missing or differ."""
    target = taps.model.state_dict()
    backbone = {n: v for n, v in target.items() if not n.startswith(taps.classifier)}
    fitting = _fitting(name, found, Wanted(target, backbone))
    taps.model.load_state_dict(fitting.tensors, strict=False)
    return digest(fitting.tensors)


def _fitting(name: str, found: Weights, wanted: Wanted) -> Fitting:
    """Return the one set of tensors that is meant, under the backbone's names. Raises InputError."""
    all_fits = fittings(found.sets, wanted)
    fits = different(
        meant(found.sets, wanted, all_fits) if found.name is None else called(all_fits, found.name)
    )
    if len(fits) > 1 or (all_fits and not fits):
        which = "" if found.name is None else f" under the name {found.name!r}"
        raise InputError(
            f"--weights {found.file}: {len(fits) or 'none'} of its sets of tensors fit {name}{which}, with "
            f"different values; expected one of them: {_choices(found, fits or different(all_fits))}"
        )
    if not fits:
        raise InputError(
            f"--weights {found.file}: they do not fit the backbone {name}: {misfit(found.sets, wanted)}; "
            "expected the weights of this very model"
        )
    if found.file is not None:
        _report(found, fits[0], different([fits[0], *all_fits])[1:])
    return fits[0]


def _report(found: Weights, fitting: Fitting, others: Sequence[Fitting]) -> None:
    """Log what was done to the names in a file, and which other sets of it would fit."""
    done = []
    if fitting.where != next(iter(found.sets)):
        done.append(f"the tensors of {fitting.where!r} are used")
    if fitting.prefix:
        done.append(f"{fitting.prefix!r} was taken off the names of its tensors")
    if fitting.unwrapped:
        done.append("the names of wrappers were taken out of the names of its tensors")
    if others and found.name is None:
        used = repr(fitting.label) if fitting.label else "its top level"
        done.append(f"{used} is used, and {_choices(found, others)} takes other values")
    if done:
        log.warning("--weights %s: %s", found.file, "; ".join(done))


def _choices(found: Weights, fits: Sequence[Fitting]) -> str:
    """Return the options that choose sets of a file."""
    return " or ".join(f"--weights {found.file}#{fit.label}" for fit in fits)
