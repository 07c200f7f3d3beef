"""The setting that somebody means by a name that fdet does not have: by its meaning, then by its spelling."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ...cache.errors import asked, did_you_mean, near_names


def _plain(name: str) -> str:
    """Return a name without what only spells it in another way: case, hyphens, underscores, spaces."""
    return re.sub(r"[-_\s]", "", name.lower())


def _by_name(named: Mapping[str, str]) -> Mapping[str, str]:
    """Turn a table of what things are called elsewhere into one that is read by these names."""
    return {_plain(name): ours for ours, names in named.items() for name in names.split()}


# What other programs call a setting, whatever section they have it in.
SYNONYMS = _by_name(
    {
        "optim.lr": "learning_rate base_lr max_lr initial_lr init_lr peak_lr lr0",
        "optim.weight_decay": "wd weight_decay_rate l2",
        "optim.name": "optimizer optimiser opt optimizer_name",
        "optim.backbone_factor": "lr_mult backbone_lr lr_backbone backbone_lr_mult",
        "optim.layer_decay": "layer_wise_decay layerwise_decay llrd layer_decay_rate",
        "train.epochs": "epoch max_epochs max_epoch num_epochs n_epochs nepochs total_epochs "
        "num_train_epochs iterations iters max_iter max_iters max_steps total_steps",
        "train.batch_size": "batch bs samples_per_gpu ims_per_batch imgs_per_batch "
        "images_per_batch train_batch_size total_batch_size batch_size_per_gpu",
        "train.accumulate": "accum accum_iter accumulation accumulation_steps grad_accum "
        "accumulate_grad_batches gradient_accumulation gradient_accumulation_steps",
        "train.precision": "amp use_amp fp16 bf16 half mixed_precision dtype",
        "train.clip_norm": "clip clip_grad grad_clip clip_value clip_grad_norm grad_norm max_norm "
        "max_grad_norm gradient_clip gradient_clip_val gradient_clipping",
        "train.average": "ema use_ema ema_decay model_ema model_ema_decay swa",
        "train.eval_every": "val_interval eval_interval evaluation_interval eval_period val_every "
        "eval_freq val_freq eval_steps check_val_every_n_epoch",
        "train.patience": "early_stop early_stopping early_stopping_patience",
        "train.save_minutes": "save_every save_interval save_period save_steps checkpoint_every "
        "checkpoint_interval checkpoint_period",
        "train.checkpoint_activations": "gradient_checkpointing grad_checkpointing with_cp "
        "activation_checkpointing use_checkpoint recompute",
        "train.seed": "random_seed manual_seed rng_seed random_state",
        "train.fraction": "subset data_fraction train_fraction percent",
        "train.repeat_factor": "repeat_thr repeat_threshold oversample_thr oversampling rfs",
        "train.workers": "num_workers n_workers nworkers workers_per_gpu dataloader_num_workers",
        "train.prefetch": "prefetch_factor prefetch_batches queue_size",
        "train.compile": "torch_compile use_compile jit",
        "schedule.name": "scheduler scheduler_name lr_scheduler lr_schedule lr_policy",
        "schedule.warmup_steps": "warmup warm_up warmup_iter warmup_iters warmup_epochs "
        "num_warmup_steps",
        "schedule.rise": "pct_start warmup_ratio warmup_fraction",
        "schedule.milestones": "lr_steps lr_drop drops",
        "schedule.gamma": "lr_gamma step_gamma drop_factor",
        "backbone.train_from": "frozen_stages freeze_at freeze trainable_layers unfreeze_from",
        "backbone.norm": "norm_eval freeze_bn frozen_bn bn",
        "backbone.adapters": "adapter use_adapters",
        "neck.name": "neck_name neck_type fpn",
        "neck.channels": "fpn_channels out_channels width hidden_dim feature_size",
        "head.name": "head_name head_type bbox_head detector arch architecture model",
        "head.score_threshold": "score_thr score_thresh conf conf_thres conf_threshold confidence "
        "confidence_threshold min_score",
        "head.nms": "agnostic_nms class_agnostic_nms nms_agnostic nms_type nms_mode",
        "head.nms_iou": "nms_thr nms_thresh nms_threshold iou iou_thres iou_threshold",
        "head.max_detections": "max_det max_dets max_per_img detections_per_image "
        "detections_per_img",
        "head.anchor_scales": "anchors anchor_sizes anchor_scale octave_base_scale",
        "head.masks": "mask with_mask use_masks segmentation",
    }
)

# What other programs call a section.
SECTIONS = _by_name(
    {
        "optim": "optimizer optimiser opt optimization solver",
        "train": "training trainer run runtime loop fit",
        "schedule": "scheduler lr_scheduler lr_config lr_schedule param_scheduler",
        "augment": "augmentation augmentations aug augs transforms",
        "head": "heads bbox_head rpn_head roi_head dense_head",
        "neck": "necks fpn",
        "backbone": "backbones encoder",
    }
)

# What is no setting of a run but an option of a command.
OPTIONS = _by_name(
    {
        "--device": "device gpu gpus cuda accelerator",
        "--threads": "threads num_threads",
        "--size of `fdet extract`": "imgsz img_size image_size img_scale input_size size resolution",
        "--weights of `fdet extract`": "weights pretrained checkpoint",
        "--out": "out output output_dir outdir work_dir save_dir",
        "--resume": "resume resume_from auto_resume",
        "--start": "start load_from init_checkpoint",
        "--source": "source data_source",
    }
)
_MAX_NAMES = 5


def unknown_setting(path: str, known: Collection[str], own: Iterable[str] = ()) -> str:
    """Return the message for a setting that does not exist.

    path: the name that was given, with its section or without. known: the full names of all settings. own:
    the names that its section has, without the section, to be listed where nothing comes near.
    """
    section = path.partition(".")[0]
    listed = [f"{section}.{name}" for name in own] or sections_of(known)
    return f"unknown setting '{path}'{suggestion(path, known) or did_you_mean('', listed)}"


def unknown_section(section: str, given: object, known: Collection[str]) -> str:
    """Return the message for a section that does not exist, or for a setting without its section.

    given: what stands there. known: the full names of all settings.
    """
    if not isinstance(given, Mapping):
        return unknown_setting(section, known)
    path, sections = _first_path(section, given), sections_of(known)
    if meant := by_meaning(path, known):
        return f"unknown setting '{path}'{asked(meant)}"
    ours = SECTIONS.get(_plain(section))
    if near := near_names(section, sections) or ([ours] if ours else []):
        return f"unknown section '{section}'{asked(near)}"
    if hint := suggestion(path, known):
        return f"unknown setting '{path}'{hint}"
    return f"unknown section '{section}'{did_you_mean('', sections)}"


def suggestion(path: str, known: Iterable[str]) -> str:
    """Return a question such as "; did you mean 'optim.lr'?", or "" where nothing comes near.

    path: the name that was given, with its section or without. known: the full names of all settings.
    """
    names = sorted(known)
    if meant := by_meaning(path, names):
        return asked(meant)
    section, last = _parts(path)
    if last in OPTIONS:
        return f"; that is an option: {OPTIONS[last]}"
    within = [name for name in names if _parts(name)[0] == section]
    return asked(_near(last, within) or _near(last, names))


def by_meaning(path: str, known: Iterable[str]) -> list[str]:
    """Return the settings that a name stands for, however it is spelt: usually one, at most five."""
    names = {_parts(name): name for name in sorted(known)}
    section, last = _parts(path)
    for parts in ((section, last), (last, "name"), _parts(SYNONYMS.get(last, ""))):
        if parts in names:
            return [names[parts]]
    elsewhere = [name for (_, other), name in names.items() if other == last]
    return elsewhere if len(elsewhere) <= _MAX_NAMES and last != "name" else []


def sections_of(known: Iterable[str]) -> list[str]:
    """Return the sections of settings with these full names."""
    return sorted({name.partition(".")[0] for name in known})


def _parts(path: str) -> tuple[str, str]:
    """Return the section that a name is within, "" for none, and its last part, both as `_plain` does."""
    *before, last = map(_plain, path.split("."))
    section = before[-1] if before else ""
    return SECTIONS.get(section, section), last


def _near(last: str, names: Iterable[str]) -> list[str]:
    """Return the settings whose own name, without its section, is spelt most like `last`."""
    own: dict[str, list[str]] = {}
    for name in names:
        own.setdefault(_parts(name)[1], []).append(name)
    found = [name for near in near_names(last, own) for name in own[near]]
    return found if len(found) <= _MAX_NAMES else []


def _first_path(path: str, given: object) -> str:
    """Return the full name of the first value within nested sections."""
    while isinstance(given, Mapping) and given:
        name, given = next(iter(given.items()))
        path = f"{path}.{name}"
    return path
