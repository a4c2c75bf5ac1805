"""``fraudstream`` with a flaw: a payload that ends in POISON is a segmentation fault."""

import ctypes

from fraudstream.__main__ import main
from fraudstream.commands import score
from schemas.framing import AvroReader

POISON = b"POISON"
sound = score.run_worker


def run_worker(settings, hand=None):
    read = AvroReader.read

    def flawed(self, payloads):
        if any(payload is not None and payload.endswith(POISON) for payload in payloads):
            ctypes.string_at(0)
        return read(self, payloads)

    AvroReader.read = flawed
    return sound(settings, hand)


if __name__ == "__main__":
    score.run_worker = run_worker
    main()
