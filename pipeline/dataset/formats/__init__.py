"""The formats that data sets are found in: a new one is one file and one row."""

from collections.abc import Mapping

from .coco import COCO, LVIS
from .csv_table import CSV
from .format import Format
from .voc import VOC
from .yolo import YOLO

FORMATS: Mapping[str, Format] = {"coco": COCO, "lvis": LVIS, "yolo": YOLO, "voc": VOC, "csv": CSV}
