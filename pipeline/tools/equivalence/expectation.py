"""The expectations on a cache and on training with it: equal bits, or closeness, and how close."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ....cache.key import CacheKey
from ....cache.wording import counted
from ...machines.choices import Precision
from ...machines.devices import environment
from ...runs.config import RunConfig


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expectation of a comparison. reasons: why the bits may differ; empty where they must not."""

    reasons: tuple[str, ...]

    @property
    def exact(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        return "bit for bit" if self.exact else f"within the bound ({'; '.join(self.reasons)})"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits within which results may differ in another environment, where equal bits are not expected.

    features: the error of a value, as a share of its map's largest value. map: the error of all values of a
    map together, the root mean square of the errors as a share of that of the values. Both are added to the
    codec's bound. loss: the difference of each loss, as a share of its step's total. weights: the distance
    between two trainings, as a share of the distance that they moved.
    """

    features: float
    map: float
    loss: float
    weights: float


# By the precision of the products, which rounds their inputs to 24, 11 or 8 bits; the differences between
# two orders of summation add up over a network's layers. EfficientNet-Lite0's features at 256 px were 2^-17
# apart with and without oneDNN; those in fp16 and bf16 were 2^-5 and 2^-2 apart from those in fp32. Over a
# whole map that was 0.6 % and 6 % (at 160 px); the features of a mirrored image are 50 % to 120 % apart.
ALLOWANCES: Mapping[str, Allowance] = {
    "fp32": Allowance(2.0**-14, 2.0**-14, 0.002, 0.1),
    "fp16": Allowance(2.0**-4, 2.0**-6, 0.02, 0.3),
    "bf16": Allowance(2.0**-1, 2.0**-3, 0.1, 0.5),
}


def expected_features(key: CacheKey, device: torch.device, elsewhere: bool) -> Expectation:
    """Return what to expect of features: equal bits where device, threads and libraries are the same.

    elsewhere: whether the cache was made on another processor, which its key does not record.
    """
    here = replace(key, **environment(device))
    reasons = tuple(str(difference) for difference in here.explain(key, "reuse"))
    return Expectation((*reasons, "made elsewhere") if elsewhere else reasons)


def expected_steps(features: Expectation, key: CacheKey, device: torch.device) -> Expectation:
    """Return what to expect of training with the backbone in the loop, on parts of shuffled batches."""
    reasons = list(features.reasons)
    if key.batch_size > 1:
        reasons.append(
            f"extraction took {counted(key.batch_size, 'sample')} a pass, and not those of a training batch"
        )
    if device.type != "cpu":
        reasons.append("sums of gradients on an accelerator have no fixed order")
    return Expectation(tuple(reasons))


def expected_finetune(steps: Expectation, key: CacheKey, config: RunConfig) -> Expectation | None:
    """Return what to expect of a backbone that is trained in the loop, against a tail on a cache.

    steps: what to expect of frozen features. None stands for nothing, where the codec changes the maps.
    """
    if (key.codec, *key.converted) != ("fp32",):
        return None
    reasons = list(steps.reasons)
    at_once = -(-config.train.batch_size // config.train.accumulate)
    if at_once > 1:
        reasons.append(f"a trained backbone takes {counted(at_once, 'image')} a pass")
    if key.precision != config.train.precision:
        reasons.append(
            f"extraction computed in {key.precision}, training in {config.train.precision}"
        )
    return Expectation(tuple(reasons))


def allowance_for(*precisions: Precision | str) -> Allowance:
    """Return the allowance of the coarsest of some precisions."""
    return max((ALLOWANCES[p] for p in precisions), key=lambda allowance: allowance.features)
