"""Deciding a batch is the same as deciding its rows one by one, and every row has exactly one outcome."""

import io
from dataclasses import dataclass, replace

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decide import Arm, Bounds, Reasons, Rejection, Roles, Rollout, Source, Thresholds, decide
from models.routing import Experiment, single, two_way
from models.scorer import Answer, ScorerUnavailableError
from schemas.columns import BytesColumn, Columns, NumberColumn, Reason
from schemas.decision import Invocation, Lineage, Outcome, encode, to_records
from schemas.errors import ConfigurationError
from schemas.load import load

DECISION = fastavro.parse_schema(load("decision"))
NOW = 1_700_000_000_000
DAY = 86_400_000
ROLES = Roles("transaction_id", "card_id", "event_time", "amount")
BOUNDS = Bounds(earliest=946_684_800_000, lead=DAY)
UNIT_OPTIONAL = replace(BOUNDS, unit_required=False)


@dataclass(frozen=True)
class FirstFeature:
    """A scorer whose score is its first feature, and whose contributions are the features themselves."""

    features: tuple[str, ...] = ("V1", "amount")
    name: str = "m"
    version: str = "1"

    def score(self, features):
        return np.nan_to_num(features[:, 0].astype(np.float64))

    def contributions(self, features):
        return np.hstack([features, np.ones((len(features), 1), np.float32)])


def arm(experiment, index, scorer=None, required=(False, False)):
    variant = experiment.variants[index]
    lineage = Lineage(
        "p1", 0.5, 0.9, "m", f"v{index}", bytes(32), "xgboost", experiment.id, 1, variant.name, "s", variant.share
    )
    return Arm(scorer or FirstFeature(), Thresholds("p1", 0.5, 0.9), lineage, np.array(required), ("V1", "AMOUNT"))


def rollout(challenger_share=None, **options):
    variants = single("champion") if challenger_share is None else two_way("champion", "challenger", challenger_share)
    experiment = Experiment("e", 1, "s", tuple(variants))
    return Rollout(experiment, tuple(arm(experiment, index, **options) for index in range(len(variants))))


def text(values):
    sizes = np.array([len(value or b"") for value in values], np.int64)
    data = np.frombuffer(b"?" + b"".join(value or b"" for value in values), np.uint8)
    null = np.array([value is None for value in values])
    return BytesColumn(data, np.cumsum(sizes) - sizes + 1, sizes, null if null.any() else None)


def number(values, dtype=np.float64):
    null = np.array([value is None for value in values])
    filler = np.nan if dtype is np.float64 else 0
    filled = np.array([filler if value is None else value for value in values], dtype)
    return NumberColumn(filled, null if null.any() else None)


def transactions(v1, **columns):
    n = len(v1)
    given = {
        "transaction_id": [b"tx-%d" % row for row in range(n)],
        "card_id": [b"card-%d" % row for row in range(n)],
        "event_time": [NOW] * n,
        "amount": [10.0] * n,
    } | {name: values for name, values in columns.items() if name != "reason"}
    return Columns(
        np.array(columns.get("reason", [0] * n), np.uint8),
        {
            "transaction_id": text(given["transaction_id"]),
            "card_id": text(given["card_id"]),
            "event_time": number(given["event_time"], np.int64),
            "amount": number(given["amount"]),
            "V1": number(v1),
        },
    )


FLAGGED = (Outcome.REVIEW, Outcome.DECLINE)


def run(columns, over=None, reason_codes=1, reasons_for=FLAGGED, bounds=BOUNDS):
    n = len(columns.reason)
    source = Source("transactions", np.zeros(n, np.int32), np.arange(n, dtype=np.int64))
    return decide(columns, source, ROLES, bounds, over or rollout(), Reasons(reason_codes, reasons_for), NOW)


def test_scores_meet_the_policy_at_its_thresholds():
    verdict = run(transactions([0.0, 0.49, 0.5, 0.89, 0.91, 1.0]))

    decided = [record["decision"] for record in to_records(verdict.decisions)]
    assert decided == ["approve", "approve", "review", "review", "decline", "decline"]


def test_only_flagged_rows_carry_reasons_and_they_push_toward_fraud():
    verdict = run(transactions([0.1, 0.95], amount=[5.0, -1.0]), reason_codes=2)

    codes = [record["reason_codes"] for record in to_records(verdict.decisions)]
    assert codes[0] == []
    assert [code["feature"] for code in codes[1]] == ["V1"]


def test_reasons_are_given_for_the_outcomes_that_were_chosen_alone():
    v1 = [0.1, 0.6, 0.95]

    given = {
        outcomes: [
            len(record["reason_codes"]) for record in to_records(run(transactions(v1), None, 1, outcomes).decisions)
        ]
        for outcomes in [(), (Outcome.DECLINE,), FLAGGED, tuple(Outcome)]
    }

    assert given == {(): [0, 0, 0], (Outcome.DECLINE,): [0, 0, 1], FLAGGED: [0, 1, 1], tuple(Outcome): [1, 1, 1]}


def test_a_reason_bears_the_code_of_its_feature_and_the_largest_comes_first():
    verdict = run(transactions([0.6], amount=[5.0]), reason_codes=2)

    (record,) = to_records(verdict.decisions)
    assert [code["feature"] for code in record["reason_codes"]] == ["AMOUNT", "V1"]


@pytest.mark.parametrize(
    ("column", "value", "rejection"),
    [
        ("transaction_id", None, Rejection.MISSING_ID),
        ("transaction_id", b"", Rejection.MISSING_ID),
        ("transaction_id", b"x" * 513, Rejection.OVERLONG_ID),
        ("event_time", None, Rejection.MISSING_EVENT_TIME),
        ("event_time", 0, Rejection.EVENT_TIME_OUT_OF_RANGE),
        ("event_time", NOW + DAY + 1, Rejection.EVENT_TIME_OUT_OF_RANGE),
        ("card_id", None, Rejection.MISSING_UNIT),
        ("card_id", b"", Rejection.MISSING_UNIT),
        ("amount", None, Rejection.NON_FINITE_AMOUNT),
        ("amount", float("inf"), Rejection.NON_FINITE_AMOUNT),
        ("amount", float("nan"), Rejection.NON_FINITE_AMOUNT),
        ("amount", 1e300, Rejection.NON_FINITE_FEATURE),
        ("V1", float("nan"), Rejection.NON_FINITE_FEATURE),
        ("V1", float("-inf"), Rejection.NON_FINITE_FEATURE),
    ],
)
def test_a_wrong_value_rejects_its_row_and_no_other(column, value, rejection):
    good = {"transaction_id": b"a", "card_id": b"b", "event_time": NOW, "amount": 1.0, "V1": 0.1}
    rows = {name: [fine, value if name == column else fine, fine] for name, fine in good.items()}

    verdict = run(transactions(rows.pop("V1"), **rows))

    assert verdict.rejected == {1: rejection}
    assert verdict.decided.tolist() == [0, 2]
    assert verdict.decisions.offset.tolist() == [0, 2]


@pytest.mark.parametrize("others", [[b"card-1", b"card-2"], []])
def test_without_a_card_the_control_decides_and_the_decision_says_so(others):
    over = rollout(challenger_share=1.0)
    second = replace(over.arms[1], scorer=FirstFeature(("amount", "V1")))
    cards = [None, b"", *others]

    over = replace(over, arms=(over.arms[0], second))

    verdict = run(transactions([0.6] * len(cards), card_id=cards), over, bounds=UNIT_OPTIONAL)

    records = to_records(verdict.decisions)
    assert verdict.rejected == {}
    assert [record["experiment"]["variant"] for record in records] == ["champion"] * 2 + ["challenger"] * len(others)
    for record in records[:2]:
        assert record["score"] == pytest.approx(0.6)
        assert record["unit"] == ""
        assert record["experiment"]["bucket"] == -1
        assert record["experiment"]["probability"] == 1.0
        assert record["degraded"]
        assert record["fallback_reason"] == "the routing unit is missing"
    assert not any(record["degraded"] for record in records[2:])
    read = [fastavro.schemaless_reader(io.BytesIO(each), DECISION, None) for each in encode(verdict.decisions, b"")]
    assert [each["experiment"]["bucket"] for each in read] == [record["experiment"]["bucket"] for record in records]
    assert [each["fallback_reason"] for each in read] == [record["fallback_reason"] for record in records]


def test_without_a_card_as_without_anything_else_a_wrong_value_rejects_the_row():
    verdict = run(transactions([0.6, float("inf")], card_id=[None, None]), bounds=UNIT_OPTIONAL)

    assert verdict.rejected == {1: Rejection.NON_FINITE_FEATURE}
    assert verdict.decided.tolist() == [0]


def test_a_missing_feature_reaches_the_model_as_missing():
    verdict = run(transactions([None, 0.6]))

    assert verdict.rejected == {}
    assert verdict.decisions.score.tolist() == [0.0, pytest.approx(0.6)]


def test_a_missing_feature_is_refused_where_the_model_says_so():
    verdict = run(transactions([None, 0.6]), rollout(required=(True, False)))

    assert verdict.rejected == {0: Rejection.MISSING_FEATURE}


def test_what_could_not_be_decoded_is_told_apart_and_never_validated():
    columns = transactions([0.1, 0.1, 0.1], reason=[0, Reason.TRUNCATED, 0], card_id=[b"a", None, b"c"])

    verdict = run(columns)

    assert verdict.undecodable == {1: Reason.TRUNCATED}
    assert verdict.rejected == {}
    assert verdict.decided.tolist() == [0, 2]


def test_where_no_schema_was_known_yet_every_row_is_undecodable():
    nothing = Columns(np.array([Reason.UNKNOWN_SCHEMA, Reason.TRUNCATED], np.uint8), {})

    verdict = run(nothing)

    assert verdict.undecodable == {0: Reason.UNKNOWN_SCHEMA, 1: Reason.TRUNCATED}
    assert len(verdict.decisions) == len(verdict.decided) == 0
    assert encode(verdict.decisions, b"") == []


@pytest.mark.parametrize(("role", "what"), [("card_id", "no string"), ("amount", "no number")])
def test_a_role_of_the_wrong_type_is_named(role, what):
    columns = transactions([0.1])
    wrong = {"card_id": columns.columns["amount"], "amount": columns.columns["card_id"]}

    with pytest.raises(ConfigurationError, match=f"field {role} of the input is {what}"):
        run(replace(columns, columns={**columns.columns, role: wrong[role]}))


def test_reasons_stay_with_their_rows_when_others_are_rejected():
    verdict = run(transactions([float("inf"), 0.1, 0.95]))

    records = to_records(verdict.decisions)
    assert [len(record["reason_codes"]) for record in records] == [0, 1]
    assert records[1]["transaction_id"] == "tx-2"


@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(0, 1), st.just(float("nan"))),
            st.sampled_from([b"", b"card-1", b"card-2", b"card-3"]),
            st.sampled_from([0, 0, 0, int(Reason.TRUNCATED)]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_batch_decides_as_its_rows_do_one_by_one(rows):
    over = rollout(challenger_share=0.5)
    v1, cards, reasons = zip(*rows, strict=True)
    ids = [b"tx-%d" % row for row in range(len(rows))]

    together = run(transactions(v1, card_id=cards, reason=reasons, transaction_id=ids), over)

    alone = [
        run(transactions([v], card_id=[c], reason=[r], transaction_id=[i]), over)
        for v, c, r, i in zip(v1, cards, reasons, ids, strict=True)
    ]
    one_by_one = [record for verdict in alone for record in to_records(verdict.decisions)]
    without_source = [replace_source(record) for record in to_records(together.decisions)]
    assert without_source == [replace_source(record) for record in one_by_one]
    outcomes = {*together.decided.tolist(), *together.rejected, *together.undecodable}
    assert len(outcomes) == len(together.decided) + len(together.rejected) + len(together.undecodable) == len(rows)


def replace_source(record):
    return {name: value for name, value in record.items() if name not in {"source", "decision_id"}}


def test_each_variant_is_scored_by_its_own_model():
    over = rollout(challenger_share=0.5)
    second = replace(over.arms[1], scorer=FirstFeature(("amount", "V1")))
    columns = transactions([0.25] * 100, amount=[0.75] * 100)

    decisions = run(columns, replace(over, arms=(over.arms[0], second))).decisions

    assert set(decisions.variant.tolist()) == {0, 1}
    assert decisions.score.tolist() == [0.75 if variant else 0.25 for variant in decisions.variant]


@dataclass(frozen=True)
class Remote(FirstFeature):
    """A scorer elsewhere that refuses rows whose first feature is 0.25, or cannot be asked at all."""

    away: str | None = None
    state: int = 0
    openings: int = 0

    def answer(self, features):
        if self.away:
            raise ScorerUnavailableError(self.away)
        scores = self.score(features)
        scores[scores == 0.25] = np.nan
        return Answer(scores, np.arange(len(scores), dtype=np.int16) % 2, [Invocation("a", 0.1), Invocation("b", 0.2)])


def remote_rollout(away=None, fallback=None):
    """A champion in process, and a challenger elsewhere that has half of the cards."""
    over = rollout(challenger_share=0.5)
    return replace(over, arms=(over.arms[0], replace(over.arms[1], scorer=Remote(away=away), fallback=fallback)))


def test_what_is_scored_elsewhere_says_who_answered_and_what_is_not_says_nothing():
    decisions = run(transactions([0.5] * 100), remote_rollout()).decisions

    told = {(record["experiment"]["variant"], record["invoked_variant"]) for record in to_records(decisions)}
    assert told == {("champion", None), ("challenger", "a"), ("challenger", "b")}


def test_two_variants_that_are_scored_elsewhere_tell_their_own_requests():
    over = remote_rollout()
    first = replace(over.arms[0], scorer=Remote(away=None))

    decisions = run(transactions([0.5] * 100), replace(over, arms=(first, over.arms[1]))).decisions

    assert len(decisions.invocations) == 4
    by_variant = [set(decisions.invoked[decisions.variant == variant].tolist()) for variant in (0, 1)]
    assert by_variant == [{0, 1}, {2, 3}]


def test_a_row_that_is_refused_elsewhere_is_rejected_and_the_others_keep_their_requests():
    verdict = run(transactions([0.25, 0.5] * 50), remote_rollout())

    refused = set(verdict.rejected.values())
    assert refused == {Rejection.REFUSED_BY_ENDPOINT}
    assert 0 < len(verdict.rejected) < 50
    assert len(verdict.decided) == 100 - len(verdict.rejected)
    assert len(verdict.decisions.invoked) == len(verdict.decided)
    assert np.isfinite(verdict.decisions.score).all()


def test_without_a_fallback_nothing_is_decided_while_the_scorer_is_away():
    with pytest.raises(ScorerUnavailableError, match="endpoint x fails"):
        run(transactions([0.5] * 100), remote_rollout("endpoint x fails"))


def test_a_fallback_decides_all_cards_of_its_variant_by_its_own_policy_features_and_name():
    own = rollout(challenger_share=0.5).arms[1]
    fallback = replace(
        own,
        scorer=FirstFeature(("amount", "V1")),
        thresholds=Thresholds("p2", 0.1, 0.2),
        lineage=replace(own.lineage, policy_version="p2", review_at=0.1, decline_at=0.2, model_version="older"),
        required=np.array([True, False]),
    )

    verdict = run(transactions([0.0] * 100, amount=[0.75] * 100), remote_rollout("endpoint x fails", fallback))

    told = {
        (r["experiment"]["variant"], r["model"]["version"], r["decision"], r["degraded"], r["fallback_reason"])
        for r in to_records(verdict.decisions)
    }
    assert told == {
        ("champion", "v0", "approve", False, None),
        ("challenger", "older", "decline", True, "endpoint x fails"),
    }
    assert verdict.decisions.invoked is None
    assert [each.scorer.features for each in verdict.arms] == [("V1", "amount"), ("amount", "V1")]


def test_without_a_card_the_fallback_of_the_control_decides_under_its_own_name():
    over = rollout()
    fallback = replace(over.arms[0], lineage=replace(over.arms[0].lineage, model_version="older"))
    away = replace(over.arms[0], scorer=Remote(away="endpoint x fails"), fallback=fallback)

    verdict = run(transactions([0.5], card_id=[None]), replace(over, arms=(away,)), bounds=UNIT_OPTIONAL)

    (record,) = to_records(verdict.decisions)
    assert (record["model"]["version"], record["fallback_reason"]) == ("older", "the routing unit is missing")
