"""The formats that data sets are written in: a new one is one file and one row."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ..annotations import Annotations
from .coco import write_coco
from .voc import write_voc
from .yolo import write_yolo

Writer = Callable[[Annotations, Path, Path, str | None], list[str]]
"""Annotations, the folder of their images, the folder to write and the name of the split, if any, are given.

A sentence for each thing that the format does not keep is returned. Images are linked, or copied where the
disk has no links. The splits of one data set are written one after the other into one folder.
"""

WRITERS: Mapping[str, Writer] = {"coco": write_coco, "yolo": write_yolo, "voc": write_voc}
