"""What can be refused of a comparison before torch is imported: options, settings, names, paths."""

from __future__ import annotations

from ....cache.format.header import read_key
from ...backbones.known import check_weights
from ...command import check_folder
from ...machines.choices import check_device, check_threads
from ...training.checks import check_refining, check_settings
from .options import CompareOptions
from .runs import planned, train_options


def check_comparison(options: CompareOptions) -> None:
    """Raise InputError or ConfigError for what is wrong with options, settings, names and paths."""
    options.check()
    check_device(options.device)
    check_threads(options.threads)
    for run in planned(options):
        config, of_run = options.config_of(run.source, run.seed), train_options(run, options)
        check_settings(config, of_run, 1)
        check_refining(config, of_run)
    for cache in (options.cache, options.val):
        read_key(cache)
    check_folder("--images", options.images)
    check_folder("--val-images", options.val_images)
    check_weights("--weights", options.weights)
