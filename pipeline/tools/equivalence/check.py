"""The check that a cache is equivalent to its backbone in the loop, in its features and in training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ....cache.codecs.codec import codec_of
from ....cache.errors import InputError
from ....cache.format.header import CacheHeader
from ....cache.key import CacheKey
from ....cache.pyramid import PyramidSpec
from ....cache.reader import FeatureCache
from ....cache.wording import counted
from ...backbones.frozen import FrozenBackbone
from ...backbones.loading import load_backbone_of
from ...backbones.tail import Tail
from ...backbones.trained import TrainedBackbone
from ...dataset.images.canvases import recipe_of
from ...dataset.images.decoding import file_sha256
from ...machines.devices import pick_device, use_threads
from ...machines.progress import progress_line
from ...runs.config import RunConfig
from ...runs.model import Model
from ...sources.coded import CodedSource
from ...sources.data import Data, open_cached
from ...sources.live import LiveSource
from ...sources.source import PyramidSource
from ...training.auto import settled
from ...training.data import trained_backbone
from ...training.probe import Trained, first_batches, fresh_model, train_steps, weights_of
from .checks import check_options, train_options
from .expectation import (
    Allowance,
    Expectation,
    allowance_for,
    expected_features,
    expected_finetune,
    expected_steps,
)
from .features import FeatureCheck, LevelFeatures, codecs_before
from .options import EquivalenceOptions
from .passes import Pass, sampled_passes
from .steps import TrainingDistance, shared_part, training_distance, without_cut


@dataclass(frozen=True, slots=True)
class TrainingCheck:
    """The result of training some steps on cached and on live maps.

    training_distance: the difference of cached maps from live ones that passed through the codec. raw: the
    difference from live ones that did not; of a tail, from a backbone that is trained in the loop.
    raw_expected: what is expected of that, None where nothing is. train_from: the level that a tail begins
    with, or "".
    """

    detector: str
    steps: int
    batch_size: int
    expected: Expectation
    training_distance: TrainingDistance
    raw: TrainingDistance
    raw_expected: Expectation | None = None
    train_from: str = ""


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The result of the check: what was compared, what was expected and what was found.

    promise: what the codec promises. training: the result of training, or None where no image could be
    trained on. failures: the failures, each in one line.
    """

    key: CacheKey
    promise: str
    samples: int
    images: int
    shards: int
    expected: Expectation
    allowance: Allowance
    levels: tuple[LevelFeatures, ...]
    training: TrainingCheck | None
    failures: tuple[str, ...]

    @property
    def equivalent(self) -> bool:
        return not self.failures


def check_equivalence(path: Path, config: RunConfig, options: EquivalenceOptions) -> Equivalence:
    """Recompute some of a cache's features, and train some steps with cached and with live ones.

    config: the configuration of the detector that is trained. Raises InputError, KeyMismatch (other weights),
    IncompleteCache, CorruptCache, ConfigError.
    """
    check_options(path, options)
    cache = FeatureCache.open(path)
    key, layout = cache.header.key, cache.header.layout
    device = pick_device(options.device or ("cpu" if key.device == "cpu" else "auto"))
    use_threads(options.threads if options.threads is not None else key.threads or None)
    data = open_cached([path], options.annotations, device, masks=config.masks)
    trial = _Trial(path, options, device, config, data.header)
    tail = trial.tail()
    trial = replace(trial, config=settled(config, data, device, tail.spec if tail else None))
    trial.fresh(data)  # A level that is missing is said before the features are computed.
    passes = sampled_passes(cache.header, cache.failed, options.samples, options.seed)
    samples = [s for one in passes for s in one if s[0] not in cache.failed]
    image_ids = list(dict.fromkeys(image_id for image_id, _ in samples))
    changed = _changed_files(cache, options.images, image_ids)
    backbone = load_backbone_of(key, device, options.weights, image_vectors=True)
    expected = expected_features(key, device, options.elsewhere)
    features = _check_features(cache, options, backbone, expected, passes, changed)
    usable = replace(
        data, image_ids=tuple(i for i in data.image_ids if i in image_ids and i not in changed)
    )
    training = None
    failures = [*changed.values(), *features.failures]
    if usable.image_ids:
        training = _check_training(trial, usable, backbone, expected)
        failures += _training_failures(trial.config, key, training)
    elif not changed:
        raise InputError(f"--samples {options.samples}: the annotations name none of these images")
    return Equivalence(
        key=key,
        promise=_promise(path, key),
        samples=len(samples),
        images=len(image_ids),
        shards=len({layout.locate(*sample).shard for sample in samples}),
        expected=expected,
        allowance=allowance_for(key.precision),
        levels=(*features.levels, *features.vectors),
        training=training,
        failures=tuple(failures),
    )


def _promise(path: Path, key: CacheKey) -> str:
    """Return what the cache's codec promises, and which codecs gave the values that it stores."""
    before = f", as {' and '.join(key.converted)} gave it" if key.converted else ""
    return f"{codec_of(path, key).promise}{before}"


def _changed_files(cache: FeatureCache, folder: Path, image_ids: Sequence[int]) -> dict[int, str]:
    """Return how files differ from those extracted, by image id. Raises InputError where all are absent."""
    changed, absent = {}, 0
    for image_id in image_ids:
        name = cache.header.layout.image(image_id).file_name
        then, now = cache.entry(image_id).sha256, file_sha256(folder / name)
        if now != then:
            absent += not now
            found = f"sha256 {now[:12]}..., in the cache {then[:12]}..." if now else "unreadable"
            changed[image_id] = (
                f"image {name} (id {image_id}): the file is not the one that was extracted ({found})"
            )
    if absent and absent == len(image_ids):
        raise InputError(
            f"--images {folder}: none of the {counted(absent, 'sampled image')} is there"
        )
    return changed


def _check_features(
    cache: FeatureCache,
    options: EquivalenceOptions,
    backbone: FrozenBackbone,
    expected: Expectation,
    passes: Sequence[Pass],
    changed: Collection[int],
) -> FeatureCheck:
    key = cache.header.key
    check = FeatureCheck(
        cache,
        recipe_of(key, options.images),
        backbone,
        expected.exact,
        allowance_for(key.precision),
        changed,
    )
    with progress_line("features", sum(map(len, passes))) as progress:
        check.run(passes, progress)
    return check


@dataclass(frozen=True, slots=True)
class _Trial:
    """The steps that are trained on each source, with models that begin alike."""

    path: Path
    options: EquivalenceOptions
    device: torch.device
    config: RunConfig
    header: CacheHeader

    def tail(self) -> Tail | None:
        """Make the tail that is trained, None where the maps are used as they are."""
        given = train_options(self.path, self.options.source, self.options.weights)
        tail = trained_backbone(self.config, given, self.header, self.device)
        assert tail is None or isinstance(tail, Tail)
        return tail

    def fresh(self, data: Data) -> Model:
        """Make the model that begins on the cache, and on frozen features."""
        return fresh_model(self.config, data, self.device, self.tail())

    def whole(self, spec: PyramidSpec) -> TrainedBackbone:
        """Make the backbone with these levels that is trained from the level on that the tail begins with."""
        key, settings = self.header.key, self.config.backbone
        frozen = load_backbone_of(
            key, self.device, self.options.weights, levels=lambda _: spec.names
        )
        canvases = [bucket.canvas_hw for bucket in self.header.layout.buckets]
        batch_norm = settings.norm == "batch"
        return TrainedBackbone(
            frozen, settings.train_from, batch_norm=batch_norm, canvases=canvases
        )


def _check_training(
    trial: _Trial, data: Data, backbone: FrozenBackbone, expected: Expectation
) -> TrainingCheck:
    header, config, options = data.header, trial.config, trial.options
    batches = first_batches(config, data, options.steps)
    live = LiveSource(header, options.images, backbone, 0)
    through: PyramidSource = live
    for codec in (*codecs_before(header.key), codec_of(trial.path, header.key, trial.device)):
        through = CodedSource(through, codec)
    fresh = trial.fresh(data)
    before = without_cut(weights_of(fresh))
    whole = trial.whole(fresh.backbone.spec) if isinstance(fresh.backbone, Tail) else None
    with progress_line("training", 3 * len(batches)) as progress:

        def trained(model: Model, source: PyramidSource) -> Trained:
            done = train_steps(config, model, replace(data, source=source), batches, progress)
            return replace(done, weights=without_cut(done.weights))

        cached = trained(fresh, data.source)
        coded = trained(trial.fresh(data), through)
        if whole is None:
            raw = trained(trial.fresh(data), live)
        else:
            trained_live = LiveSource(header, options.images, whole, 0)
            raw = trained(fresh_model(config, data, trial.device, whole), trained_live)
    steps = expected_steps(expected, header.key, trial.device)
    return TrainingCheck(
        detector=f"{config.neck.name} + {config.head.name}",
        steps=len(batches),
        batch_size=config.train.batch_size,
        expected=steps,
        training_distance=training_distance(cached, coded, before),
        raw=training_distance(cached, shared_part(raw, before), before),
        raw_expected=expected_finetune(steps, header.key, config) if whole else None,
        train_from=config.backbone.train_from if whole else "",
    )


def _training_failures(config: RunConfig, key: CacheKey, training: TrainingCheck) -> list[str]:
    allowed = allowance_for(key.precision, config.train.precision)
    compared = [("training", training.training_distance, training.expected)]
    if training.raw_expected is not None:
        compared.append(("finetune", training.raw, training.raw_expected))
    return [
        f"{name}: {why}; {found}"
        for name, found, expected in compared
        if (why := _beyond(found, expected, allowed))
    ]


def _beyond(found: TrainingDistance, expected: Expectation, allowed: Allowance) -> str:
    """Return what is wrong with the distance of two trainings, "" where it is as expected."""
    if expected.exact:
        return "" if found.exact else "not the same bits"
    # The comparisons are false for NaN, which is then beyond the bound.
    within = found.loss <= allowed.loss and found.weights <= allowed.weights
    return "" if within else "beyond the bound"
