"""A process that crashes leaves no image of its memory."""

import os
import signal
import subprocess
import sys

CRASH = """
import os, resource, signal
from consumer import core_dumps
most = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
core_dumps.turn_off()
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_crash_leaves_no_core(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", CRASH], cwd=tmp_path)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0

    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []


def test_the_limit_holds_for_what_the_process_starts():
    program = (
        "import os; from consumer import core_dumps; core_dumps.turn_off(); os.execvp('sh', ['sh', '-c', 'ulimit -c'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() in {"0", "1"}
