"""Play scenarios one after the other on one broker, and hold what came of each."""

import time
from dataclasses import dataclass

from benchmarks.chaos.judge import audited, seen_live
from benchmarks.chaos.scenarios import Scenario
from benchmarks.chaos.stage import Setting, on_stage
from schemas.errors import FraudstreamError


@dataclass(frozen=True, slots=True)
class Played:
    """What one scenario did: ``ended`` counts the workers that ended by themselves, by exit code.

    ``anomalies`` are those that the audit found afterwards, ``live`` those of the reader during the run; ``problem``
    says why there is no verdict. ``recoveries`` are the seconds that it took to go on after something was mended.
    """

    scenario: str
    what: str
    events: int
    aborted: int
    killed: int
    brokers_killed: int
    ended: dict[int, int]
    anomalies: dict[str, int]
    live: dict[str, int]
    seconds: float
    recoveries: tuple[float, ...] = ()
    problem: str | None = None

    @property
    def clean(self) -> bool:
        """Whether every record has one outcome, in order, for every reader at every time."""
        return not (self.anomalies or self.live or self.problem)


def play(setting: Setting, scenario: Scenario, events: int, seed: int) -> Played:
    """Play it to the end; what goes wrong is a part of the result."""
    began = time.monotonic()
    anomalies: dict[str, int] = {}
    live: dict[str, int] = {}
    problem = None
    with on_stage(setting, scenario.name.replace(" ", "-"), seed, scenario.sabotage, scenario.options) as stage:
        try:
            scenario.play(stage, events)
            stage.drain()
            report = audited(stage)
            anomalies, live = report["anomalies"], seen_live(stage)
            if report["records"] != stage.loader.sent:
                problem = f"the audit saw {report['records']:,} of {stage.loader.sent:,} records"
        except FraudstreamError as error:
            problem = str(error)
    return Played(
        scenario=scenario.name,
        what=scenario.what,
        events=stage.loader.sent,
        aborted=stage.loader.aborted,
        killed=stage.crew.killed,
        brokers_killed=stage.brokers_killed,
        ended=dict(stage.crew.ended),
        anomalies=anomalies,
        live=live,
        seconds=time.monotonic() - began,
        recoveries=tuple(stage.recoveries),
        problem=problem,
    )
