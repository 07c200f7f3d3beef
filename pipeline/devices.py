"""Which device a run happens on."""

from __future__ import annotations

import torch

from ..cache.errors import InputError


def pick_device(name: str) -> torch.device:
    """'auto': cuda where there is one, else cpu. Raises InputError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"--device {name}: not usable here ({first}); try --device cpu") from error
    return device
