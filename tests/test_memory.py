import gc
import platform
import weakref
from pathlib import Path

import pytest

from consumer import memory
from consumer.memory import FreeMemory


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Node:
    pass


def test_what_refers_to_itself_is_collected_although_nobody_allocates():
    now = [0.0]
    free = FreeMemory(lambda: now[0])
    node = Node()
    node.itself = node
    alive = weakref.ref(node)
    gc.disable()
    try:
        del node
        free.give_back()
        assert alive() is not None
        now[0] = memory.GIVE_BACK_SECONDS + 1
        free.give_back()
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators give memory back themselves")
def test_what_lies_free_below_something_that_stays_is_given_back_but_not_again_and_again():
    now = [0.0]
    free = FreeMemory(lambda: now[0])
    taken = [bytes(1_000) for _ in range(100_000)]
    stays = taken[-1]
    del taken
    with_it = resident()

    free.give_back()
    too_early = resident()
    now[0] = memory.GIVE_BACK_SECONDS + 1
    free.give_back()

    assert too_early > with_it - 2**20
    assert resident() < with_it - 80_000_000
    assert len(stays) == 1_000
