"""What the tests of batch scoring share: data sets, runs over them without the command line, and what came out."""

from dataclasses import dataclass, field

import pyarrow.parquet as pq

from fraudstream.batch.assemble import data_set
from fraudstream.batch.places import open_place
from fraudstream.batch.run import Run, plan


@dataclass
class Watched:
    """A watcher that remembers, and stops the run after so many chunks."""

    most: float = float("inf")
    begun: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    chunks: int = 0
    rows: int = 0

    def begins(self, file):
        self.begun.append(file.name)

    def chunk(self, rows, share):
        assert 0 < share <= 1
        self.chunks += 1
        self.rows += rows

    def fails(self, error):
        self.failures.append(str(error))

    def stopped(self):
        return self.chunks >= self.most


def score(source, out, decider, *, watched=None, overwrite=False, endpoint=None):
    """Score ``source`` into ``out``, and give the summary."""
    watched = watched or Watched()
    data, place = data_set(str(source), endpoint), open_place(str(out), endpoint)
    jobs = plan(data, place, decider, overwrite=overwrite)
    return Run(data.place, place, decider, 2, watched, watched.stopped).all(jobs)


def decided(path):
    """The decisions in a file, as records."""
    return pq.read_table(path).to_pylist()


def comparable(record):
    """A decision, of the stream or of a file, as far as the same row must be decided alike by both."""
    where = {"source", "decision_id", "decided_at", "replay", "shadow", "duplicate_of"}
    plain = {name: value for name, value in record.items() if name not in where}
    plain["event_time"] = milliseconds(plain["event_time"])
    return plain


def milliseconds(time):
    return time if isinstance(time, int) else round(time.timestamp() * 1000)
