"""Let the drift monitor look at what the worker has sampled, against what came before."""

from dataclasses import replace

import numpy as np

from consumer.settings import WorkerSettings
from drift.alarm import Severity
from drift.baseline import Baseline
from drift.detect import Rule
from drift.model_baseline import baseline_of
from drift.monitor import Monitor
from drift.training_set import Scored, period_of
from drift.windows import PANE, Timing
from fraudstream.demo.cluster import PARTITIONS, Cluster
from fraudstream.demo.stream import HeldOut
from fraudstream.demo.tally import Drift
from fraudstream.reading import everything
from models.model import open_model
from models.split import parts
from models.train import Trained
from schemas.dataset import Dataset
from schemas.feature_sample import decode

SCALES = (PANE,)
"""No run has a day."""


def baseline_before(rows: HeldOut, trained: Trained, dataset: Dataset) -> Baseline:
    """What came before ``rows``, with all of the frauds that the sample has: so has what is sent."""
    described = trained.manifest
    model = open_model(described, trained.boosters, threads=1)
    before = replace(dataset, frame=dataset.frame.iloc[: rows.first], legitimate_kept=1.0)
    shares = float(described.settings["train_share"]), float(described.settings["validation_share"])
    scores = model.score(before.frame[list(model.features)].to_numpy(np.float32))
    scored = Scored(scores, model.policy.review_at, parts(dataset, shares)[0].stop)
    period = period_of(before, "what came before", model.features, scored)
    return baseline_of(described, period, scales=SCALES)


def watched(cluster: Cluster, usual: Baseline) -> Drift:
    """What the monitor finds in all that was sampled."""
    rule, topics = Rule(scales=SCALES), cluster.topics
    monitor = Monitor(topics.transactions, range(PARTITIONS), lambda _: usual, rule, Timing(), since=0, now=0)
    for message in everything(cluster.connection, WorkerSettings.model_validate({}), topics.samples):
        monitor.take(decode(message.value()), now=0)
    judged = [report for report in monitor.due(now=0) if report.severity is not Severity.INSUFFICIENT]
    alarms = [report for report in judged if report.alarms]
    subjects = dict.fromkeys(test.subject for report in alarms for test in report.alarms)
    critical = [report.window_start for report in alarms if report.severity is Severity.CRITICAL]
    return Drift(len(judged), len(alarms), tuple(subjects), min(critical, default=None))
