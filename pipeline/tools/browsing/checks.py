"""What can be refused of browsing before torch is imported."""

from __future__ import annotations

from pathlib import Path

from ....cache.format.header import read_key
from ...command import check_folder
from ...dataset.data_name import DataName
from ...dataset.presence import check_data


def check_browsing(cache: Path, images: Path | None, annotations: DataName | Path | None) -> None:
    """Raise InputError for a cache, a folder or a data set that is not there."""
    read_key(cache)
    check_folder("--images", images)
    check_data(annotations)
