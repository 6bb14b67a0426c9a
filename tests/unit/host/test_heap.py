"""One arena for all threads."""

import subprocess
import sys

import pytest

THREADS = """
import ctypes, os, sys, threading
from vmkiln.host.heap import keep_in_one_arena
if sys.argv[1] == "one":
    assert keep_in_one_arena()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.fdopen.restype = ctypes.c_void_p
all_are_here = threading.Barrier(8)
def allocate():
    all_are_here.wait()
    assert library.malloc(1000)
    all_are_here.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
stream = ctypes.c_void_p(library.fdopen(1, b"w"))
library.malloc_info(0, stream)
library.fflush(stream)
"""


@pytest.mark.parametrize(("how", "is_one"), [("one", True), ("many", False)])
def test_threads_share_one_arena_when_told_to(how: str, is_one: bool) -> None:
    told = subprocess.run([sys.executable, "-c", THREADS, how], capture_output=True, text=True, check=True).stdout
    assert (told.count("<heap nr=") == 1) is is_one, told
