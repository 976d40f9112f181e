"""What all tests share: the two adapters behind one face, and the rule that a test leaves nothing running."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from conformance.adapter_kit.adapters import ADAPTERS, Adapter

THREAD_END_S = 3.0  #: how long idle threads have to end; they need a millisecond
#: Threads that the loops' own pools keep for later.
KEPT = ("Trio thread", "asyncio_", "waitpid-", "AnyIO worker")


@pytest.fixture(params=ADAPTERS, ids=lambda each: each.name)
def adapter(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    """patter_asyncio, then patter_trio: ``run(async_fn, *args)``, ``package``, ``name``, and loop-neutral helpers.

    What was left open is collected, and so reported, within the test.
    """
    yield request.param
    gc.collect()


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    new = [each for each in threading.enumerate() if each not in before and not each.name.startswith(KEPT)]
    for thread in new:
        thread.join(THREAD_END_S)
    assert [each.name for each in new if each.is_alive()] == []
