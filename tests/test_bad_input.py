"""Whatever is wrong with a record, it has one outcome that is known beforehand, and its neighbours are decided."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import fastavro
import pytest
from confluent_kafka import Message
from prometheus_client import CollectorRegistry
from test_decide import NOW, FirstFeature, rollout

from consumer.bad_records import TooManyBadRecordsError
from consumer.dead_letters import PAYLOAD, TOO_LARGE
from consumer.decide import Rejection
from consumer.duplicates import Duplicates, Window
from consumer.in_force import InForce
from consumer.metrics import WorkerMetrics
from consumer.records import RecordBatch
from consumer.serving import Serving
from consumer.settings import Format, WorkerSettings
from consumer.topics import Topics
from consumer.wire import transaction_reader
from consumer.worker import Scoring
from schemas import framing
from schemas.columns import Reason
from schemas.decision import to_records
from schemas.errors import ConfigurationError
from schemas.load import load
from schemas.sources import RegistryUnavailableError

SCHEMA = load("transaction")
RECORD = {"transaction_id": "tx-1", "card_id": "card", "event_time": NOW, "amount": 9.5, "V1": 0.25, "V2": 1.0}
GOOD_JSON = json.dumps(RECORD).encode()
LARGEST = 1_000_000
HUGE = 10_000_000
NAN, INFINITY = float("nan"), float("inf")
IN_2099 = 4_070_908_800_000
DECIDED = None


def avro(schema=SCHEMA, schema_id=1, **changes):
    """The record as its producer writes it, but for these changes."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), RECORD | changes)
    return framing.confluent_prefix(schema_id) + out.getvalue()


def with_types(**types):
    """The shipped schema, but these fields are of another type."""
    fields = [field | {"type": types.get(field["name"], field["type"])} for field in SCHEMA["fields"]]
    return {**SCHEMA, "fields": [{k: v for k, v in each.items() if k != "default"} for each in fields]}


def with_field(kind):
    """The shipped schema with one more field before the others."""
    return {**SCHEMA, "fields": [{"name": "more", "type": kind}, *SCHEMA["fields"]]}


def scoring(source=None, required=(False, False), duplicates=None, serves=None, **settings):
    """What a worker does with a batch; its score is V1. ``source`` stands for a Schema Registry."""
    told = WorkerSettings(**settings)
    serves = serves or rollout(required=required)
    serving = Serving(serves, (), transaction_reader(told, serves.fields, source))
    in_force = InForce(lambda: serving, 0.0, WorkerMetrics(CollectorRegistry()))

    def encode(decisions):
        return [json.dumps(record).encode() for record in to_records(decisions)]

    return Scoring(
        in_force,
        encode,
        told,
        lambda: Topics(1, 1, 1, LARGEST),
        lambda *_: None,
        clock=lambda: NOW / 1000,
        duplicates=duplicates,
    )


def batch(*values, keys=None, first=0):
    """Records one after another of one partition."""
    keys = keys or [b"card"] * len(values)
    return RecordBatch.of(
        "transactions",
        [
            Message(topic="transactions", partition=0, offset=first + at, key=key, value=value, timestamp=(1, NOW))
            for at, (key, value) in enumerate(zip(keys, values, strict=True))
        ],
    )


def outcomes(outbox):
    """By offset: the decision, or why there is none."""
    found = {int(dict(letter.headers)["__connect.errors.offset"]): letter for letter in outbox.letters}
    for messages in outbox.messages:
        for message in messages.messages:
            record = json.loads(message["value"])
            assert record["source"]["offset"] not in found, "two outcomes"
            found[record["source"]["offset"]] = SimpleNamespace(key=message["key"], **record)
    return found


def outcome_between_neighbours(process, value, good, key=b"card"):
    """What becomes of a record between two that are good."""
    found = outcomes(process(batch(good, value, good, keys=[b"card", key, b"card"])))
    assert sorted(found) == [0, 1, 2]
    assert found[0].decision == found[2].decision == "approve"
    return found[1]


def reason_of(outcome):
    """The stage and the name of the reason of a dead letter; DECIDED for a decision."""
    if hasattr(outcome, "decision"):
        return DECIDED
    headers = dict(outcome.headers)
    return headers["__connect.errors.stage"].decode(), headers["__connect.errors.class.name"].decode()


def undecodable(reason):
    return ("decode", reason.name)


def rejected(reason):
    return ("validate", reason.name)


BYTES = {
    "empty": (b"", undecodable(Reason.TRUNCATED)),
    "null": (None, undecodable(Reason.MISSING_VALUE)),
    "truncated": (avro()[:-1], undecodable(Reason.TRUNCATED)),
    "nothing but a frame": (avro()[:5], undecodable(Reason.TRUNCATED)),
    "trailing bytes": (avro() + b"\0", undecodable(Reason.TRAILING_BYTES)),
    "wrong magic": (b"\1" + avro()[1:], undecodable(Reason.WRONG_MAGIC)),
    "not framed at all": (avro()[5:], undecodable(Reason.WRONG_MAGIC)),
    "unknown schema id": (avro(schema_id=99), undecodable(Reason.UNKNOWN_SCHEMA)),
    "written as float, not double": (avro(with_types(amount="float")), undecodable(Reason.BAD_UNION_INDEX)),
    "written as text": (avro(with_types(amount="string"), amount="9.5"), undecodable(Reason.BAD_UNION_INDEX)),
    "written without null": (avro(with_types(V1="double")), undecodable(Reason.BAD_UNION_INDEX)),
    "written with one more field": (avro(with_field("long"), more=7), undecodable(Reason.NEGATIVE_LENGTH)),
    "announces a text of 2 GB": (framing.confluent_prefix(1) + b"\xfe\xff\xff\xff\x0f", undecodable(Reason.TRUNCATED)),
    "bad UTF-8": (avro(transaction_id="tx\x7f").replace(b"\x7f", b"\xff"), undecodable(Reason.BAD_UTF8)),
}
VALUES = {
    "NaN in a feature": ({"V1": NAN}, rejected(Rejection.NON_FINITE_FEATURE)),
    "an infinity in a feature": ({"V1": -INFINITY}, rejected(Rejection.NON_FINITE_FEATURE)),
    "1e300 in a feature": ({"V1": 1e300}, rejected(Rejection.NON_FINITE_FEATURE)),
    "two infinities, whose sum is NaN": ({"V1": -INFINITY, "amount": 1e300}, rejected(Rejection.NON_FINITE_FEATURE)),
    "NaN in the amount": ({"amount": NAN}, rejected(Rejection.NON_FINITE_AMOUNT)),
    "an infinite amount": ({"amount": INFINITY}, rejected(Rejection.NON_FINITE_AMOUNT)),
    "an amount of 1e300, which the model sees": ({"amount": 1e300}, rejected(Rejection.NON_FINITE_FEATURE)),
    "NaN where no model looks": ({"V2": NAN}, DECIDED),
    "a negative amount is a refund": ({"amount": -9.5}, DECIDED),
    "a missing feature": ({"V1": None}, DECIDED),
    "event time in 1970": ({"event_time": 0}, rejected(Rejection.EVENT_TIME_OUT_OF_RANGE)),
    "event time in 2099": ({"event_time": IN_2099}, rejected(Rejection.EVENT_TIME_OUT_OF_RANGE)),
    "the largest event time": ({"event_time": (1 << 63) - 1}, rejected(Rejection.EVENT_TIME_OUT_OF_RANGE)),
    "no transaction id": ({"transaction_id": ""}, rejected(Rejection.MISSING_ID)),
    "no card": ({"card_id": ""}, rejected(Rejection.MISSING_UNIT)),
    "an overlong card": ({"card_id": "x" * 513}, rejected(Rejection.OVERLONG_ID)),
}
PAYLOADS = BYTES | {name: (avro(**changes), expected) for name, (changes, expected) in VALUES.items()}


@pytest.mark.parametrize(("payload", "expected"), PAYLOADS.values(), ids=PAYLOADS.keys())
def test_each_bad_record_has_its_outcome_and_its_neighbours_are_decided(payload, expected):
    outcome = outcome_between_neighbours(scoring(), payload, avro())

    assert reason_of(outcome) == expected
    if expected is not DECIDED:
        assert outcome.value == payload


TEXTS = {
    "NaN": (GOOD_JSON.replace(b"9.5", b"NaN"), undecodable(Reason.BAD_JSON)),
    "Infinity": (GOOD_JSON.replace(b"9.5", b"Infinity"), undecodable(Reason.BAD_JSON)),
    "1e400": (GOOD_JSON.replace(b"9.5", b"1e400"), undecodable(Reason.WRONG_TYPE)),
    "1e300": (GOOD_JSON.replace(b"9.5", b"1e300"), rejected(Rejection.NON_FINITE_FEATURE)),
    "deep nesting": (b'{"more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", undecodable(Reason.BAD_JSON)),
    "bad UTF-8": (GOOD_JSON.replace(b"tx-1", b"tx\xff"), undecodable(Reason.BAD_UTF8)),
    "half a surrogate pair": (GOOD_JSON.replace(b"tx-1", b"\\ud800"), undecodable(Reason.BAD_JSON)),
    "truncated": (GOOD_JSON[:-1], undecodable(Reason.BAD_JSON)),
    "trailing bytes": (GOOD_JSON + b"{}", undecodable(Reason.BAD_JSON)),
    "empty": (b"", undecodable(Reason.BAD_JSON)),
    "a number as text": (GOOD_JSON.replace(b"9.5", b'"9.5"'), undecodable(Reason.WRONG_TYPE)),
    "a missing field": (GOOD_JSON.replace(b'"amount"', b'"sum"'), undecodable(Reason.WRONG_TYPE)),
    "a feature as text": (GOOD_JSON.replace(b"0.25", b'"0.25"'), rejected(Rejection.NON_FINITE_FEATURE)),
    "a feature of 1e400": (GOOD_JSON.replace(b"0.25", b"1e400"), rejected(Rejection.NON_FINITE_FEATURE)),
}


@pytest.mark.parametrize(("payload", "expected"), TEXTS.values(), ids=TEXTS.keys())
def test_each_bad_json_record_has_its_outcome_and_its_neighbours_are_decided(payload, expected):
    outcome = outcome_between_neighbours(scoring(input_format=Format.JSON), payload, GOOD_JSON)

    assert reason_of(outcome) == expected
    assert outcome.value == payload


def test_of_a_key_that_stands_twice_in_json_the_last_is_decided():
    twice = GOOD_JSON.replace(b'"transaction_id": "tx-1"', b'"transaction_id": "tx-1", "transaction_id": "tx-2"')

    outcome = outcome_between_neighbours(scoring(input_format=Format.JSON), twice, GOOD_JSON)

    assert outcome.transaction_id == "tx-2"


@pytest.mark.parametrize(
    ("feature", "value", "expected"),
    [("V1", None, rejected(Rejection.MISSING_FEATURE)), ("V1", NAN, rejected(Rejection.NON_FINITE_FEATURE))],
)
def test_a_feature_that_the_model_requires_may_not_be_missing(feature, value, expected):
    process = scoring(required=(True, False))

    assert reason_of(outcome_between_neighbours(process, avro(**{feature: value}), avro())) == expected


@pytest.mark.parametrize("value", ["text", True, [1.0], {"of": 1.0}])
def test_what_is_wrong_in_json_where_only_the_challenger_looks_costs_the_control_no_decision(value):
    both = rollout(challenger_share=0.5)
    challenger = replace(both.arms[1], scorer=FirstFeature(("V2", "amount")))
    process = scoring(serves=replace(both, arms=(both.arms[0], challenger)), input_format=Format.JSON)
    records = [RECORD | {"card_id": f"card-{number}"} for number in range(60)]

    well, ill = (
        outcomes(process(batch(*(json.dumps(each | change).encode() for each in records))))
        for change in ({}, {"V2": value})
    )

    variants = {at: outcome.experiment["variant"] for at, outcome in well.items()}
    assert set(variants.values()) == {"champion", "challenger"}
    expected = {"champion": DECIDED, "challenger": rejected(Rejection.NON_FINITE_FEATURE)}
    assert {at: reason_of(outcome) for at, outcome in ill.items()} == {at: expected[it] for at, it in variants.items()}


def test_without_a_card_the_control_decides_where_the_setting_says_so():
    outcome = outcome_between_neighbours(scoring(missing_unit="control"), avro(card_id=""), avro())

    assert outcome.degraded
    assert outcome.fallback_reason == Rejection.MISSING_UNIT.value


@pytest.mark.parametrize("key", [None, b"another card", b""])
def test_the_payload_says_which_card_it_is_and_the_decision_keeps_the_key_that_came(key):
    outcome = outcome_between_neighbours(scoring(), avro(), avro(), key)
    (keyed,) = outcomes(scoring()(batch(avro()))).values()

    assert outcome.key == key
    assert outcome.unit == "card"
    assert outcome.experiment == keyed.experiment


def test_a_key_that_no_decision_may_bear_makes_a_dead_letter_that_does_without_it():
    outcome = outcome_between_neighbours(scoring(), avro(), avro(), key=b"x" * 1_500_000)

    assert reason_of(outcome) == rejected(Rejection.OVERLONG_KEY)
    assert outcome.key is None


@pytest.mark.parametrize(("length", "expected"), [(4_096, DECIDED), (4_097, rejected(Rejection.OVERLONG_KEY))])
def test_a_key_is_overlong_beyond_4096_bytes(length, expected):
    assert reason_of(outcome_between_neighbours(scoring(), avro(), avro(), key=b"x" * length)) == expected


@pytest.mark.parametrize("value", [b"\7", avro(card_id="")], ids=["undecodable", "no card"])
def test_what_is_wrong_with_a_value_is_said_before_what_is_wrong_with_its_key(value):
    overlong, short = (outcome_between_neighbours(scoring(), value, avro(), key) for key in (b"x" * 4_097, b"k"))

    assert reason_of(overlong) == reason_of(short)


def test_a_transaction_id_that_comes_again_is_decided_again_and_with_a_window_names_the_decision_that_counts():
    duplicates = Duplicates(Window(60_000, 1_000), recall=lambda _since: [])

    without, within = (
        outcomes(scoring(duplicates=each)(batch(avro(), avro(transaction_id="tx-2"), avro())))
        for each in (None, duplicates)
    )

    assert [without[at].duplicate_of for at in range(3)] == [None, None, None]
    assert [within[at].duplicate_of for at in range(3)] == [None, None, within[0].decision_id]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (framing.confluent_prefix(1) + b"\7" * HUGE, undecodable(Reason.NEGATIVE_LENGTH)),
        (avro(transaction_id="x" * HUGE), rejected(Rejection.OVERLONG_ID)),
    ],
    ids=["garbage", "id"],
)
def test_a_bad_value_of_10_mb_becomes_a_pointer_to_its_record(value, expected):
    outcome = outcome_between_neighbours(scoring(), value, avro())

    assert reason_of(outcome) == expected
    assert outcome.value is None
    assert dict(outcome.headers)[PAYLOAD] == b"pointer"
    assert int(dict(outcome.headers)[TOO_LARGE]) > HUGE


def test_10_mb_in_a_field_that_nobody_asks_for_are_walked_over(tmp_path):
    (tmp_path / "large.avsc").write_text(json.dumps(with_field("string")))
    process = scoring(input_schema=tmp_path / "large.avsc")
    good = avro(with_field("string"), more="")

    assert reason_of(outcome_between_neighbours(process, avro(with_field("string"), more="x" * HUGE), good)) is DECIDED


ITEMS = with_field({"type": "array", "items": "int"})
BOMBS = {
    "announces 2^62 items": (b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", Reason.TRUNCATED),
    "announces a block of 2^62 bytes": (b"\x01\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", Reason.TRUNCATED),
    "never ends a varint": (b"\xff" * 5_000, Reason.BAD_VARINT),
}


@pytest.mark.parametrize(("bomb", "reason"), BOMBS.values(), ids=BOMBS.keys())
def test_an_array_that_announces_more_than_there_is_costs_nothing_and_is_undecodable(tmp_path, bomb, reason):
    (tmp_path / "items.avsc").write_text(json.dumps(ITEMS))
    process = scoring(input_schema=tmp_path / "items.avsc")

    outcome = outcome_between_neighbours(process, framing.confluent_prefix(1) + bomb, avro(ITEMS, more=[1, 2]))

    assert reason_of(outcome) == undecodable(reason)


UNSAFE = {
    "recursive": (with_field(["null", "fraudstream.Transaction"]), "recursive"),
    "an array of nothing": (with_field({"type": "array", "items": "null"}), "without bytes"),
    "a map of arrays of nothing": (
        with_field({"type": "map", "values": {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}}),
        "without bytes",
    ),
    "an amount that is a text": (with_types(amount="string"), "amount"),
    "an id that is bytes": (with_types(transaction_id="bytes"), "transaction_id"),
    "a card that is fixed": (with_types(card_id={"type": "fixed", "name": "Card", "size": 4}), "card_id"),
    "no amount": ({**SCHEMA, "fields": [each for each in SCHEMA["fields"] if each["name"] != "amount"]}, "amount"),
}


@pytest.mark.parametrize(("schema", "why"), UNSAFE.values(), ids=UNSAFE.keys())
def test_a_schema_that_nobody_should_read_ends_the_worker_before_the_first_record(tmp_path, schema, why):
    (tmp_path / "unsafe.avsc").write_text(json.dumps(schema))

    with pytest.raises(ConfigurationError, match=why):
        scoring(input_schema=tmp_path / "unsafe.avsc")


@pytest.mark.parametrize(("schema", "why"), UNSAFE.values(), ids=UNSAFE.keys())
def test_a_schema_that_nobody_should_read_ends_the_worker_when_a_registry_gives_it_and_blames_no_record(schema, why):
    process = scoring(Registry({1: SCHEMA, 2: schema}, known=[1]))

    with pytest.raises(ConfigurationError, match=why):
        process(batch(avro(), avro(schema_id=2)))


class Registry:
    """A Schema Registry in memory that may be away; ``known`` are the ids that are told before the first record."""

    def __init__(self, schemas, known=()):
        self.schemas, self.before, self.away = schemas, known, False

    def known(self):
        return {number: self.schemas[number] for number in self.before}

    def schema(self, number):
        if self.away:
            raise RegistryUnavailableError("the registry does not answer")
        return self.schemas.get(number)


def test_a_schema_that_the_registry_does_not_know_makes_a_dead_letter_and_one_that_is_away_makes_none():
    registry = Registry({1: SCHEMA, 2: SCHEMA}, known=[1])
    process = scoring(registry)
    records = batch(avro(), avro(schema_id=2), avro(schema_id=3))
    registry.away = True
    with pytest.raises(RegistryUnavailableError):
        process(records)
    registry.away = False

    found = outcomes(process(records))

    assert [reason_of(found[at]) for at in range(3)] == [DECIDED, DECIDED, undecodable(Reason.UNKNOWN_SCHEMA)]


@pytest.mark.parametrize("size", [1, 7, 99, 100, 101, 5_000])
@pytest.mark.parametrize("good_before", [0, 3, 250])
@pytest.mark.parametrize("busy", [False, True])
def test_of_input_that_is_bad_throughout_less_than_100_records_are_told_before_it_stops(size, good_before, busy):
    process = scoring()
    stream = [avro()] * good_before + [b"\7"] * 1_000
    told, on_the_way = [], []

    def publish_all():
        for at in range(0, len(stream), size):
            on_the_way.append(process(batch(*stream[at : at + size], first=at)))
            told.extend(on_the_way[-1].letters)
            while len(on_the_way) > busy:  # when busy, one is published while the next is decided
                on_the_way.pop(0).on_published()

    with pytest.raises(TooManyBadRecordsError, match="of 100 records in a row"):
        publish_all()

    assert len(told) < 100
