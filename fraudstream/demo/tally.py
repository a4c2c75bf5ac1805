"""Count what came of the transactions, against what is known of them."""

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAST_DECLINED = 6
RECENT = 1_000


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of the n transactions that are sent.

    ``row`` finds a transaction by its id; ``is_fraud`` (n,) bool; ``amount`` (n,) float64; ``due`` (n,) float64, when
    each is to be sent, in s since 1970. The real traffic holds 1 / ``legitimate_kept`` times as many legitimate ones.
    """

    row: dict[str, int]
    is_fraud: NDArray[np.bool_]
    amount: NDArray[np.float64]
    due: NDArray[np.float64]
    legitimate_kept: float


@dataclass(frozen=True, slots=True)
class Declined:
    """One declined transaction, as the live view shows it. ``reasons`` are features with their log-odds."""

    transaction_id: str
    amount: float
    score: float
    reasons: list[tuple[str, float]]
    is_fraud: bool


@dataclass(slots=True)
class Tally:
    """What a reader of the output has seen so far."""

    truth: Truth
    seen: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    fraud_outcomes: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    last_declined: deque[Declined] = field(default_factory=lambda: deque(maxlen=LAST_DECLINED))
    dead_letters: int = 0
    last_read: float = 0.0

    @property
    def total(self) -> int:
        """Transactions that are sent in all."""
        return len(self.truth.due)

    @property
    def complete(self) -> bool:
        """Whether each transaction has an outcome."""
        return len(self.seen) + self.dead_letters >= self.total

    @property
    def rate(self) -> float:
        """Transactions a second that were decided since the first was sent."""
        seconds = self.last_read - float(self.truth.due[0])
        return len(self.seen) / seconds if seconds > 0 else 0.0

    @property
    def caught(self) -> int:
        """Frauds that were declined or sent to review."""
        return self.fraud_outcomes["decline"] + self.fraud_outcomes["review"]

    def note(self, decision: dict[str, Any], now: float) -> None:
        """Take one decision, read at ``now`` (s since 1970). The first for a transaction counts for its latency."""
        identity, outcome = decision["transaction_id"], decision["decision"]
        row = self.truth.row[identity]
        self.seen[identity] += 1
        self.last_read = now
        if self.seen[identity] > 1:
            return
        self.outcomes[outcome] += 1
        self.latencies.append(now - float(self.truth.due[row]))
        is_fraud = bool(self.truth.is_fraud[row])
        if is_fraud:
            self.fraud_outcomes[outcome] += 1
        if outcome == "decline":
            reasons = [(code["feature"], code["contribution"]) for code in decision["reason_codes"]]
            amount = float(self.truth.amount[row])
            self.last_declined.append(Declined(identity, amount, decision["score"], reasons, is_fraud))

    def latency_ms(self, last: int | None = None) -> tuple[float, float]:
        """The median and the 99th percentile, in ms, of the ``last`` decisions or of all."""
        chosen = self.latencies[-last:] if last else self.latencies
        if not chosen:
            return 0.0, 0.0
        p50, p99 = np.percentile(chosen, [50, 99]) * 1000
        return float(p50), float(p99)


@dataclass(frozen=True, slots=True)
class Drift:
    """What the monitor saw: how many ``windows`` it judged, and in how many something alarmed, the surest first.

    ``since`` (ms of event time) is the beginning of the first that did so critically, for which the monitor asks for
    a retraining; None where none did.
    """

    windows: int = 0
    alarmed: int = 0
    subjects: tuple[str, ...] = ()
    since: int | None = None


NOBODY_WATCHED = Drift()


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of the demo in numbers. Latencies are in ms, from the time a transaction was due to be sent.

    ``decisions_out`` counts every record that a read_committed reader found, ``doubled`` those beyond the first for a
    transaction. A transaction is flagged if it is declined or sent to review. ``precision`` is that among the rows
    sent, ``precision_at_real_prior`` that in traffic where frauds are as rare as in reality; None if none was flagged.
    """

    delivery: str
    transactions_in: int
    decisions_out: int
    dead_letters: int
    missing: int
    doubled: int
    approved: int
    reviewed: int
    declined: int
    frauds: int
    frauds_declined: int
    frauds_reviewed: int
    recall: float
    precision: float | None
    precision_at_real_prior: float | None
    throughput: float
    p50_ms: float
    p99_ms: float
    drift: Drift

    @property
    def kept_its_promise(self) -> bool:
        """Nothing is missing, and where it was promised nothing is doubled."""
        return not self.missing and not (self.doubled and self.delivery == "exactly_once")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(tally: Tally, delivery: str, drift: Drift = NOBODY_WATCHED) -> Summary:
    """Count up."""
    flagged = tally.outcomes["decline"] + tally.outcomes["review"]
    alarms, frauds = flagged - tally.caught, int(tally.truth.is_fraud.sum())
    # Each legitimate row stands for 1 / legitimate_kept transactions of the real traffic, and so does a false alarm.
    real_alarms = alarms / tally.truth.legitimate_kept
    p50, p99 = tally.latency_ms()
    return Summary(
        delivery=delivery,
        transactions_in=tally.total,
        decisions_out=tally.seen.total(),
        dead_letters=tally.dead_letters,
        missing=tally.total - len(tally.seen) - tally.dead_letters,
        doubled=tally.seen.total() - len(tally.seen),
        approved=tally.outcomes["approve"],
        reviewed=tally.outcomes["review"],
        declined=tally.outcomes["decline"],
        frauds=frauds,
        frauds_declined=tally.fraud_outcomes["decline"],
        frauds_reviewed=tally.fraud_outcomes["review"],
        recall=tally.caught / frauds,
        precision=tally.caught / flagged if flagged else None,
        precision_at_real_prior=tally.caught / (tally.caught + real_alarms) if flagged else None,
        throughput=round(tally.rate, 1),
        p50_ms=round(p50, 1),
        p99_ms=round(p99, 1),
        drift=drift,
    )
