"""The `fdet train-heads` command: it opens the data, checks that they match, and starts the loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from ...cache.codecs.codec import codec_files
from ...cache.errors import FdetError
from ...cache.format.header import CacheHeader
from ...cache.resident import resident_bytes
from ...cache.sampler import Sampler
from ..backbones.tail import AdaptedTail, Tail
from ..dataset.classes.embeddings import read_embeddings
from ..dataset.classes.long_tail import frequencies
from ..dataset.tiling import tiling_of
from ..evaluation.lvis import warn_of_few_detections
from ..machines.devices import cap_device_memory
from ..machines.processes import Processes, join_processes
from ..pictures.choice import check_pictured, choose_images
from ..runs import metrics_log
from ..runs.checkpoint import load_state
from ..runs.config import RunConfig
from ..runs.folder import forget_folder, held_folder, prepare_folder
from ..runs.info import SECOND_FOLDER, TILES, RunInfo
from ..runs.kept_options import write_options
from ..runs.model import Model
from ..runs.pairing import check_features, labelled
from ..runs.position import LAST, Position
from ..sources.data import Data
from ..sources.epochs import sampler_of
from ..watching.events import Hook
from ..watching.pictures_hook import pictures_hook
from ..watching.trackers.tracker import tracker_hook
from ..watching.tracking import opened_trackers
from .auto import seen_targets, settled
from .averaging import MovingAverage
from .checks import check_training
from .curve import curve_hook
from .data import chosen, open_data, trained_backbone
from .loop import Loop, TrainSummary
from .memory_limit import Fit, find_fit
from .opening import NO_VALIDATION, described_extension, described_fit, described_length
from .optimiser import make_optimiser
from .options import TrainOptions
from .resumption import kept_values
from .start import belonging, start_digest, start_from
from .step import Stepper
from .threads import check_threads, take_threads, threads_now
from .trial import batches_to_try, heaviest, shortest
from .validation import evaluated_at_once

log = logging.getLogger(__name__)

# The path of a checkpoint, and what the run.json next to it says.
Saved = tuple[Path, RunInfo]


def train(config: RunConfig, options: TrainOptions) -> TrainSummary:
    """Train neck and head, and with --source finetune or scratch the backbone too, or adapters in it.

    Evaluates on `val` where one is given. Raises InputError, ConfigError (e.g. for a level that the cache
    lacks), KeyMismatch (train and val do not pair), FdetError (the loss is not finite any more); the last
    checkpoint, where there is one, survives all of them.
    """
    check_training(config, options)
    processes = join_processes(options.device)
    take_threads(options, processes)
    check_threads(options, processes)
    if options.resume:
        config = config.adopting(RunInfo.read(options.out).config)
    fit = find_fit(config, options, processes, _try)
    if fit is not None:
        config = fit.applied(config)
        if processes.device.type == "cuda":
            cap_device_memory(processes.device, fit.limit)
    with prepared(config, options, processes, fit) as loop:
        return loop.run()


@contextmanager
def prepared(
    config: RunConfig,
    options: TrainOptions,
    processes: Processes,
    fit: Fit | None = None,
) -> Iterator[Loop]:
    """Yield a run that is ready to continue, and hold its folder within the block; raises as `train` does."""
    info, model, data, val = _open(config, options, processes, fit)
    config = info.config
    if processes.first:
        log.info("%s", describe_training(info, model))
        if fit is not None:
            log.info("%s", fit.described(config, processes.world.size, data.resident))
        seen, names = seen_targets(data, config.train), data.annotations.class_names
        for line in described_fit(model.detector.head, seen, names):
            log.info("%s", line)
    with held_run(config, options, processes, info, val) as (on_disk, hooks):
        state = saved_state(options, on_disk)
        own = _at_full_rate(config) if options.kind.fresh else config
        stepper, position = begin(own, model, processes, state, options.on_corrupt == "skip")
        if processes.first:
            metrics_log.cut_back(options.out, position.step, not position.to_evaluate)
        loop = Loop(config, options.out, on_disk.digest, data, val, stepper, position, hooks)
        if processes.first:
            log.info("%s", described_length(config, loop.total, val is not None))
            if line := described_extension(on_disk, position.step, loop.sampler):
                log.info("%s", line)
            if val is None and not position.finished:
                log.warning(NO_VALIDATION)
        yield loop


def saved_state(options: TrainOptions, on_disk: RunInfo) -> Saved | None:
    """Return the state that a resumed run continues from, or None where it did not come that far.

    on_disk: what its run.json says.
    """
    path = options.out / LAST
    return (path, on_disk) if options.resume and path.exists() else None


@contextmanager
def held_run(
    config: RunConfig,
    options: TrainOptions,
    processes: Processes,
    info: RunInfo,
    val: Data | None,
) -> Iterator[tuple[RunInfo, list[Hook]]]:
    """Make or find the run directory, and hold it while the block runs.

    Yields what its run.json says, and the hooks for every line of the log. Raises as `prepare_folder` does.
    """
    hooks: list[Hook] = []
    with ExitStack() as held:

        def take_folder() -> RunInfo:
            """Lock the folder, make or find the run in it, and open the trackers."""
            needed = _needed_files(options, info)
            held.enter_context(held_folder(options.out))
            on_disk = prepare_folder(
                options.out, info, needed, resume=options.resume, extend=options.extend
            )
            write_options(options.out, kept_values(options))
            try:
                hooks.extend(held.enter_context(_told(config, options, val)))
            except FdetError:
                if not options.resume:
                    forget_folder(options.out)
                raise
            return on_disk

        yield processes.by_first(take_folder), hooks


def _needed_files(options: TrainOptions, info: RunInfo) -> dict[str, bytes]:
    """Return the files that the codecs of the training caches need, by path within the run."""
    needed = codec_files(options.caches[0], info.key)
    if info.second is None:
        return needed
    second = codec_files(options.seconds[0], info.second)
    return {**needed, **{f"{SECOND_FOLDER}/{name}": data for name, data in second.items()}}


def _at_full_rate(config: RunConfig) -> RunConfig:
    """Return the configuration with a backbone of random weights learning as fast as the rest."""
    return replace(config, optim=replace(config.optim, backbone_factor=1.0, layer_decay=1.0))


@contextmanager
def _told(config: RunConfig, options: TrainOptions, val: Data | None) -> Iterator[list[Hook]]:
    """Yield the hooks that are called with every line of the log while the block runs."""
    with opened_trackers(
        options.track, options.out, config.to_mapping(), resume=options.resume
    ) as trackers:
        hooks = [*map(tracker_hook, trackers), curve_hook(options.out), *options.hooks]
        if val is not None and options.shown_images is not None:
            of_val, bits = (val.truth, val.truth_ids), val.header.key.bits
            hooks.append(pictures_hook(options.out, options.shown_images, *of_val, trackers, bits))
        yield hooks


def describe_training(info: RunInfo, model: Model) -> str:
    """Return a line on what is trained: the parameters and their share of the whole detector."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = info.total_parameters(model.detector.all_parameters, model.adapter_parameters)
    return (
        f"{info.config.neck.name} + {info.config.head.name}: {trained / 1e6:.2f} M parameters are "
        f"trained, {(total - trained) / 1e6:.2f} M of {info.backbones} are frozen; trained share "
        f"{trained / total:.1%}"
    )


def _try(config: RunConfig, options: TrainOptions, processes: Processes) -> int:
    """Do all that a run does, on few samples; return the bytes that requested resident samples will take.

    They count only where they lie in the memory that is measured.
    """
    apart = replace(options, resident=options.resident if options.kind.live else "none")
    info, model, data, val = _open(config, apart, processes)
    config = info.config
    train, parts = config.train, config.train.accumulate * processes.world.size
    data = heaviest(data, sampler_of(data, train), batches_to_try(config), parts)
    if val is not None:
        size = evaluated_at_once(train, processes.world)
        val = heaviest(val, Sampler(val.header.layout, val.image_ids, size, 0, epochs=1), 1)
    short = shortest(config, len(data.image_ids))
    own = _at_full_rate(short) if options.kind.fresh else short
    stepper, position = begin(own, model, processes, may_skip=options.on_corrupt == "skip")
    Loop(short, options.out, info.digest, data, val, stepper, position).run()
    counted = options.resident == ("ram" if processes.device.type == "cpu" else "device")
    return resident_bytes(*data.headers) if counted else 0


def _open(
    config: RunConfig,
    options: TrainOptions,
    processes: Processes,
    fit: Fit | None = None,
) -> tuple[RunInfo, Model, Data, Data | None]:
    """Open the data and make the model; all that can be refused before a folder is made is refused here."""
    header = CacheHeader.read(options.caches[0])
    backbone = trained_backbone(config, options, header, processes.device)
    data, val = open_data(config, options, header, backbone, processes, fit)
    data = chosen(config, data)
    if options.start is not None:
        config = belonging(config, RunInfo.read(options.start).config)
    tail = backbone if isinstance(backbone, Tail | AdaptedTail) else None
    config = settled(config, data, processes.device, tail.spec if tail else None)
    vectors = _class_vectors(options, data)
    more = (
        {}
        if vectors is None
        else {"class embeddings": sha256(vectors.numpy().tobytes()).hexdigest()}
    )
    info = run_info(
        config,
        options,
        data,
        val,
        embedding=0 if vectors is None else vectors.shape[1],
        tail=tail,
        more={**more, **threads_now(processes), **(fit.to_data() if fit else {})},
    )
    if val is not None:
        val = check_validation(info, options, val)
    model = Model(info.fresh_detector(vectors), backbone).to(processes.device)
    if options.start is not None:
        start_from(options.start, info, model)
        if vectors is not None:
            model.detector.head.use_embeddings(vectors)
    return info, model, data, val


def run_info(
    config: RunConfig,
    options: TrainOptions,
    data: Data,
    val: Data | None,
    *,
    embedding: int = 0,
    tail: Tail | AdaptedTail | None = None,
    more: Mapping[str, str],
) -> RunInfo:
    """Return what run.json says.

    embedding: the length of the vectors that stand for classes. more: further data that the run sees.
    """
    counts = [int(header.backbone["parameters"]) for header in data.headers]
    tiling = None if data.whole is None else tiling_of(data.header.layout.images)
    return RunInfo(
        key=data.header.key,
        class_ids=data.annotations.class_ids,
        class_names=data.annotations.class_names,
        config=config,
        # A header counts the parameters up to the coarsest cached level.
        backbone_parameters=tail.whole_parameters if tail else sum(counts),
        data={
            "source": options.source,
            "training data": data.fingerprint,
            "training images": data.content,
            "validation data": val.fingerprint if val else "none",
            "validation images": val.content if val else "none",
            "second training cache": data.second.id if data.second else "none",
            "second validation cache": val.second.id if val and val.second else "none",
            "start": start_digest(options.start),
            "class embeddings": "none",
            **({TILES: tiling.to_text()} if tiling else {}),
            **more,
        },
        frequencies=frequencies(data.truth),
        second=data.second.key if data.second else None,
        embedding=embedding,
        tail=tail.spec if tail else None,
    )


def check_validation(info: RunInfo, options: TrainOptions, val: Data) -> Data:
    """Return the data for evaluation with the classes of the run.

    Raises KeyMismatch or InputError where a run cannot be evaluated on these data.
    """
    second_key = val.second.key if val.second else None
    for difference in check_features(
        info, val.header.key, val.name, second_key, options.val_second
    ):
        log.warning("training and validation caches differ in %s", difference)
    name = f"validation annotations of {val.name}"
    val = val.with_annotations(lambda a: labelled(info, a, name))
    warn_of_few_detections(val.truth, info.config.head.max_detections)
    if options.shown_images is not None:
        check_pictured(options.shown_images, choose_images(val.truth, val.truth_ids))
    return val


def _class_vectors(options: TrainOptions, data: Data) -> Tensor | None:
    """Return the class embeddings (K, D) in the order of the labels, or None where there are none."""
    if options.class_embeddings is None:
        return None
    return torch.from_numpy(
        read_embeddings(options.class_embeddings).of(data.annotations.class_names)
    )


def begin(
    config: RunConfig,
    model: Model,
    processes: Processes,
    state: Saved | None = None,
    may_skip: bool = False,
) -> tuple[Stepper, Position]:
    """Return the stepper and the position where a run begins, or where it stopped.

    state: the state that the run left when it stopped, if it came that far.
    """
    settings = config.train
    model.detector.checkpoint_activations(settings.checkpoint_activations)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    optimiser = make_optimiser(model, config.optim)
    position, average = Position(), dict[str, Tensor]()
    if state is not None:
        path, on_disk = state
        position, average = load_state(path, model, optimiser, on_disk)
    if settings.compile:
        model.detector.compile_parts()
    moving = MovingAverage(model, settings.average, average) if settings.average else None
    stepper = Stepper(config, model, optimiser, processes, moving, may_skip)
    stepper.loss_scale = (position.loss_scale, position.scale_age)
    return stepper, position
