from collections.abc import Iterator

import pytest

from tests.server.running import Running, running


@pytest.fixture(scope="module")
def fast() -> Iterator[Running]:
    """A plain server, fifty times faster than real time: for whoever does not look at the clock."""
    with running(speed=50) as server:
        yield server
