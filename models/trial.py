"""Load models that may crash their process: read them from standard input, fork for each, and say what became of it."""

import json
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from models.manifest import MANIFEST_FILE, from_json
from models.model import check_scores, open_model
from schemas.errors import BadModelError


def main(seconds: float, memory: int) -> None:
    """Answer each model with a line of JSON until standard input ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Whatever XGBoost prints is no answer.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    while (files := _next(requests)) is not None:
        replies.write(json.dumps({"reason": _tried(files, seconds, memory, silence)}).encode() + b"\n")
        replies.flush()


def _next(requests: BinaryIO) -> dict[str, bytes] | None:
    """The files of the next model: the length of a header, the header with names and sizes, the contents."""
    prefix = requests.read(8)
    if len(prefix) < 8:
        return None
    sizes = json.loads(requests.read(*struct.unpack(">q", prefix)))
    return {name: requests.read(size) for name, size in sizes.items()}


def _tried(files: Mapping[str, bytes], seconds: float, memory: int, silence: int) -> str | None:
    """Why a model is refused, found out in a fork with limits; None where it is good."""
    mine, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(silence, 2)
        _limit(seconds, memory)
        os.write(its, json.dumps(examine(files)).encode())
        os._exit(0)
    os.close(its)
    with os.fdopen(mine, "rb") as answers:
        in_time = bool(select.select([answers], [], [], seconds)[0])
        answer = answers.read() if in_time else b""
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not in_time:
        return f"it took longer than {seconds:g} s"
    if os.WIFSIGNALED(status):
        return f"it crashed its process ({signal.Signals(os.WTERMSIG(status)).name})"
    return json.loads(answer) if answer else f"it ended its process with {os.WEXITSTATUS(status)}"


def _limit(seconds: float, memory: int) -> None:
    """Bound what this process may take from now on."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    processor = int(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (processor, processor))
    if sys.platform == "linux":  # elsewhere the kernel does not tell what is taken, or does not heed the limit
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))


def examine(files: Mapping[str, bytes]) -> str | None:
    """Load the model and score its golden rows. Why it is refused, or None."""
    try:
        check_scores(open_model(from_json(files[MANIFEST_FILE], MANIFEST_FILE), files, threads=1))
    except BadModelError as error:
        return str(error)
    except MemoryError:
        return "it needs more memory than a model may"
    except Exception as error:  # noqa: BLE001 - whatever goes wrong with a model on trial is a reason against it
        return f"{type(error).__name__} when it was scored"
    return None


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
