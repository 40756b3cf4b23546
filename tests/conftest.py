"""For all tests."""

import gc
import signal
from collections.abc import Iterator

import pytest
import warm


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Started in the background, a test run ignores Ctrl-C, and so would every program that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server of ``warm``: it takes seconds to start, so all directories of tests share one."""
    with warm.serve() as address:
        yield address


@pytest.fixture(scope="session")
def copier_server() -> Iterator[str]:
    with warm.serve(warm.COPIER) as address:
        yield address


def pytest_collection_finish(session: pytest.Session) -> None:
    """The garbage collector need not look at libraries and tests again and again; it took a seventh of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
