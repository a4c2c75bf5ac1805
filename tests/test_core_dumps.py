"""A process that crashes leaves no image of its memory."""

import os
import signal
import subprocess
import sys

ALLOWED = """
import os, resource, signal
most = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
"""
CRASH = f"""{ALLOWED}
from consumer import core_dumps
core_dumps.turn_off()
os.kill(os.getpid(), signal.SIGSEGV)
"""
COMMAND = f"""{ALLOWED}
from fraudstream import __main__ as command
command.app = lambda: os.execvp("sh", ["sh", "-c", "ulimit -c"])
command.main()
"""


def test_a_crash_leaves_no_core(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", CRASH], cwd=tmp_path)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0

    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []


def test_no_command_nor_anything_that_it_starts_leaves_one():
    done = subprocess.run([sys.executable, "-c", COMMAND], capture_output=True, text=True, check=True)

    assert done.stdout.strip() in {"0", "1"}
