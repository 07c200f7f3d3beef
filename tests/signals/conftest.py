"""What the attacked commands start from: read only."""

import pytest

from ..pipeline.conftest import commands
from .targets import Ground, laid

__all__ = ["commands", "ground"]


@pytest.fixture(scope="session")
def ground(tmp_path_factory, commands) -> Ground:
    return laid(tmp_path_factory.mktemp("ground"), commands)
