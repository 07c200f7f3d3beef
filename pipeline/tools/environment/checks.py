"""What can be wrong with the options of `fdet doctor`."""

from __future__ import annotations

from ...command import check_folder
from ...machines.choices import check_device
from .options import DoctorOptions


def check_doctor(options: DoctorOptions) -> None:
    """Raise InputError for a folder that is not there, and for a device that no torch knows."""
    check_folder("--folder", options.folder)
    check_device(options.device)
