"""Leave no image of this process's memory behind a crash: records would be in it."""

import resource
import sys


def turn_off() -> None:
    """No core dumps of this process, nor of those that it starts.

    On Linux the limit is one byte and not none: the kernel hands a dump to a program (``core_pattern`` with a pipe)
    whatever the limit, unless it is 1.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 1 if sys.platform == "linux" and most != 0 else 0
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
