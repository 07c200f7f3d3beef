"""The options of `fdet audit`; the type, default and help of each are stated only at its field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from ....cache.errors import InputError, did_you_mean
from ....heads.ranges import at_least, between
from ...command import (
    MACHINE,
    AnnotationsInstead,
    Device,
    Format,
    Split,
    ThreadsOfJobs,
    cache_opt,
    check_ranges,
    opt,
)
from ...dataset.data_name import DataName, named
from ...sources.kinds import Residence

Pictures = Literal["none", "jpg", "png"]

# The group of options in the help.
_LIST = "List"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """The options of an audit, besides its run, its cache and its folder.

    second: a second backbone's cache of the same images, for a run that was trained on two. weights: the
    weights of the backbone, for a run with a tail, where extraction took a file.
    """

    folds: Annotated[
        int,
        between(2, 20),
        opt("parts of the images; each is looked at by a head that was trained on the others"),
    ] = 4
    seed: Annotated[int, opt("seed: the same one makes the same folds")] = 0
    second: Annotated[
        Path | None, cache_opt("the second backbone's cache, for a run trained on two", "--with")
    ] = None
    weights: Annotated[
        str | None,
        opt("weights file of the backbone, for a run with a tail, if extraction was given one"),
    ] = None
    annotations: AnnotationsInstead = None
    format: Format = None
    split: Split = None
    above: Annotated[float, between(0, 1), opt("lowest suspicion that is listed", group=_LIST)] = (
        0.5
    )
    top: Annotated[int, at_least(1), opt("maximum number of entries of each kind", group=_LIST)] = (
        100
    )
    images: Annotated[
        Path | None,
        opt("image folder, for pictures; default: one that the run names", group=_LIST),
    ] = None
    pictures: Annotated[
        Pictures,
        opt("format of the pictures", group=_LIST, parser=str, metavar="none|jpg|png"),
    ] = "jpg"
    jobs: Annotated[
        int, at_least(1), opt("heads trained at once; they share the threads", group=MACHINE)
    ] = 1
    device: Device = "auto"
    threads: ThreadsOfJobs = None
    resident: Annotated[
        Residence,
        opt("keep encoded samples in memory; auto: if they fit", group=MACHINE),
    ] = "auto"

    @property
    def data(self) -> DataName | None:
        """The data set of the annotations, None for those of the cache. Raises InputError."""
        return named(self.annotations, self.format, self.split)

    def check(self) -> None:
        """Raise InputError for a value outside its range, and for a format of pictures that is none."""
        check_ranges(self)
        for name, known in (
            ("pictures", get_args(Pictures)),
            ("resident", get_args(Residence)),
        ):
            if (given := getattr(self, name)) not in known:
                raise InputError(f"--{name} {given!r}{did_you_mean(given, known)}")
