import gc
import platform
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from consumer import memory
from consumer.memory import FreeMemory

HEAPS_OF_TWELVE_THREADS = """
import ctypes
import threading

from consumer import memory

{before}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
here = threading.Barrier(13)


def allocate():
    libc.malloc(2_000)
    here.wait()


threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads:
    thread.start()
here.wait()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of other allocators nothing is asked")


def heaps(before):
    program = HEAPS_OF_TWELVE_THREADS.format(before=before)
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return told.count("<heap nr=")


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Node:
    pass


@on_glibc
def test_threads_share_a_few_heaps(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)

    assert heaps("memory.limit_arenas()") == memory.ARENAS < heaps("")


@on_glibc
def test_who_runs_it_has_the_last_word_on_heaps(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")

    assert heaps("memory.limit_arenas()") == 2


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


@on_glibc
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
