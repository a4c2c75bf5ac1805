"""Say what a scenario did to the decisions: by ``fraudstream audit``, and by who looked on while it was played."""

import subprocess
import sys
from collections import Counter
from contextlib import closing
from typing import Any

import msgspec
import numpy as np

from benchmarks.chaos.onlooker import Onlooker, Seen
from benchmarks.chaos.stage import PARTITIONS, Stage
from consumer.audit import Audit
from consumer.sheet import Anomaly
from fraudstream.audit import add_sources
from fraudstream.reading import read
from schemas.errors import FraudstreamError

UNSEEN = "never seen"
"""A decision that stands on its topic, and that who looked on was not given."""


def audited(stage: Stage, to: str = "end", since: str = "beginning") -> dict[str, Any]:
    """The report of the command. Raises FraudstreamError where it gives none."""
    range_ = ["--from", since, "--to", to]
    command = [sys.executable, "-m", "fraudstream", "audit", *range_, "--json", *stage.options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise FraudstreamError(f"the audit gave no report: {done.stderr.strip()}")
    report: dict[str, Any] = msgspec.json.decode(done.stdout)
    return report


def seen_live(stage: Stage) -> dict[str, int]:
    """The anomalies in what was read while it was written, beside what stands there now."""
    ends = {topic: stage.ends(topic) for topic in stage.topics[1:]}
    live = stage.onlooker.finish(ends)
    afterwards = Onlooker(stage.connection, stage.settings, PARTITIONS)
    afterwards.start()
    final = afterwards.finish(ends)
    counts = Counter({str(anomaly): count for anomaly, count in _audit(stage, live).items()})
    counts[Anomaly.ABORTED_READ] += len(np.setdiff1d(live.places, final.places))
    counts[UNSEEN] += len(np.setdiff1d(final.places, live.places))
    return dict(+counts)


def _audit(stage: Stage, seen: Seen) -> Counter[Anomaly]:
    spans = stage.ends(stage.topics[0])
    found = Audit(spans, range(PARTITIONS))
    with closing(stage.connection.reader(f"{stage.settings.group}.judge")) as consumer:
        for batch in read(consumer, stage.topics[0], spans, lambda _steps: None):
            add_sources(found, batch)
    seen.tell(found)
    return found.report({span.partition: span.stop for span in spans}, {}).anomalies
