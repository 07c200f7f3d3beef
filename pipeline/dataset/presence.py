"""A check that the data sets of a command are there; formats are imported only where it names one."""

from __future__ import annotations

from pathlib import Path

from .data_name import DataName, check_path


def check_data(*given: DataName | Path | None) -> None:
    """Raise InputError for a data set that is not there, or has no such format or split; None is none."""
    names = [data for data in given if data is not None]
    for data in names:
        check_path(data.path if isinstance(data, DataName) else data)
    if names:
        from .data_set import check_data_name

        for data in names:
            check_data_name(data)
