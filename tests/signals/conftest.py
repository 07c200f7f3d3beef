"""What the attacked commands start from: read only."""

from collections.abc import Iterator

import pytest

from ..pipeline.command_server import Commands
from .targets import Ground, laid


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Real processes that need no time to start."""
    commands = Commands()
    yield commands
    commands.close()


@pytest.fixture(scope="session")
def ground(tmp_path_factory, commands) -> Ground:
    return laid(tmp_path_factory.mktemp("ground"), commands)
