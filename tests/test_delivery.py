"""A batch is published whole with its offsets, or it is known not to be: no trap of the client passes in silence."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer.delivery import AtLeastOnce, ExactlyOnce, Letter, Messages, Outbox, Place, PublishError, TooLargeError
from consumer.faults import Fault, classify
from schemas.errors import ConfigurationError, NotPermittedError

PLACE = Place([], None, None)


class Broker:
    """What reached the log, and the errors that the next calls shall meet."""

    def __init__(self):
        self.committed = []
        self.initialised = []
        self.aborted = 0
        self.errors = {}

    def meet(self, call):
        if self.errors.get(call):
            raise KafkaException(self.errors[call].pop(0))


class FakeProducer:
    """A transactional producer with the silences of the real one, over a broker in memory."""

    def __init__(self, broker, properties):
        self.broker = broker
        self.properties = properties
        self.buffer = []
        self.refuse = 0

    def init_transactions(self, timeout):
        self.broker.meet("init")
        self.broker.initialised.append(self.properties["transactional.id"])

    def begin_transaction(self):
        self.broker.meet("begin")
        self.buffer = []

    def produce_batch(self, topic, messages, partition):
        taken = len(messages) - self.broker.errors.get("refuse", 0)
        for message in messages[taken:]:
            message["_error"] = KafkaError(self.broker.errors.get("refusal", KafkaError._QUEUE_FULL))
        self.buffer += [(topic, partition, message["value"]) for message in messages[:taken]]
        return taken

    def produce(self, topic, value, key, partition, headers):
        self.broker.meet("produce")
        self.buffer.append((topic, partition, value))

    def send_offsets_to_transaction(self, offsets, group, timeout):
        self.broker.meet("offsets")

    def commit_transaction(self, timeout):
        self.broker.meet("commit")
        self.broker.committed += self.buffer

    def abort_transaction(self, timeout):
        self.broker.aborted += 1
        self.broker.meet("abort")

    def flush(self, timeout):
        for error in self.broker.errors.pop("delivery", []):
            self.properties["on_delivery"](error, None)
        self.broker.committed += self.buffer
        return self.broker.errors.pop("unacknowledged", 0)

    def poll(self, timeout):
        return 0

    def purge(self, in_flight):
        self.buffer = []


class FakeConsumer:
    def __init__(self):
        self.offsets = []

    def commit(self, offsets, asynchronous):
        assert not asynchronous
        self.offsets.append(offsets)


def error(code, *, fatal=False, retriable=False, abort=False):
    return KafkaError(code, "injected", fatal, retriable, abort)


def outbox():
    return Outbox([Messages("out", 0, [{"value": b"1", "key": None}, {"value": b"2", "key": None}])], [])


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def exactly_once(broker):
    delivery = ExactlyOnce(lambda own: FakeProducer(broker, own), "app.env.group.0")
    delivery.open()
    return delivery


@pytest.mark.parametrize(
    ("kafka_error", "fault"),
    [
        (error(KafkaError.PRODUCER_FENCED, fatal=True), Fault.FENCED),
        (error(KafkaError._FENCED, fatal=True), Fault.FENCED),
        (error(KafkaError.FENCED_INSTANCE_ID, abort=True), Fault.ABORT),
        (error(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True), Fault.FATAL),
        (error(KafkaError.MSG_SIZE_TOO_LARGE, abort=True), Fault.ABORT),
        (error(KafkaError.ILLEGAL_GENERATION, abort=True), Fault.ABORT),
        (error(KafkaError._TIMED_OUT, retriable=True), Fault.RETRY),
        (error(KafkaError._CONFLICT, fatal=True, retriable=True), Fault.FATAL),
        (error(KafkaError.INVALID_TXN_STATE), Fault.FATAL),
        (error(KafkaError.TOPIC_AUTHORIZATION_FAILED, abort=True), Fault.NOT_PERMITTED),
        (error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True), Fault.NOT_PERMITTED),
    ],
)
def test_errors_are_asked_whether_they_are_fatal_before_whether_to_retry(kafka_error, fault):
    assert classify(kafka_error) is fault


def test_both_producers_are_initialised_before_anything_is_published(broker, exactly_once):
    assert broker.initialised == ["app.env.group.0.a", "app.env.group.0.b"]


def test_two_producers_take_turns(broker):
    used = []

    class Noting(FakeProducer):
        def begin_transaction(self):
            used.append(self.properties["transactional.id"])

    delivery = ExactlyOnce(lambda own: Noting(broker, own), "s")
    delivery.open()
    for _ in range(4):
        delivery.publish(outbox(), PLACE)

    assert used == ["s.a", "s.b", "s.a", "s.b"]


@pytest.mark.parametrize("call", ["begin", "produce", "offsets", "commit"])
def test_after_any_failure_the_producer_is_replaced_and_the_batch_is_not_published(broker, exactly_once, call):
    broker.errors[call] = [error(KafkaError.UNKNOWN_PRODUCER_ID, abort=True)]
    letter = Letter("dead", 0, None, b"3", [])

    with pytest.raises(PublishError):
        exactly_once.publish(Outbox(outbox().messages, [letter]), PLACE)

    assert broker.committed == []
    assert broker.aborted == 1
    assert broker.initialised[2:] == ["app.env.group.0.a"]
    assert exactly_once.replacements == 1


@pytest.mark.parametrize("once", ["exactly", "at least"])
def test_a_record_for_which_the_client_has_no_room_is_not_skipped(broker, once):
    class Full(FakeProducer):
        def produce(self, topic, value, key, partition, headers):
            raise BufferError("Local: Queue full")

    made = {"exactly": lambda m: ExactlyOnce(m, "s"), "at least": lambda m: AtLeastOnce(m, "s")}
    delivery = made[once](lambda own: Full(broker, own))
    delivery.open()
    consumer = FakeConsumer()

    with pytest.raises(PublishError):
        delivery.publish(Outbox(outbox().messages, [Letter("dead", 0, None, b"3", [])]), Place(["o"], consumer, None))

    assert (broker.committed, consumer.offsets) == ([], [])


def test_a_batch_that_the_client_takes_in_part_is_not_published(broker, exactly_once):
    broker.errors["refuse"] = 1

    with pytest.raises(PublishError, match="refused 1 of 2 records"):
        exactly_once.publish(outbox(), PLACE)

    assert broker.committed == []


def test_after_a_fatal_error_nothing_is_aborted(broker, exactly_once):
    broker.errors["commit"] = [error(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True)]

    with pytest.raises(PublishError):
        exactly_once.publish(outbox(), PLACE)

    assert broker.aborted == 0


def test_an_abort_that_fails_is_left_to_the_next_initialisation(broker, exactly_once):
    broker.errors["commit"] = [error(KafkaError.INVALID_RECORD, abort=True)]
    broker.errors["abort"] = [error(KafkaError._CONFLICT, retriable=True)]

    with pytest.raises(PublishError):
        exactly_once.publish(outbox(), PLACE)
    exactly_once.publish(outbox(), PLACE)
    exactly_once.publish(outbox(), PLACE)

    assert len(broker.committed) == 4


def test_three_fences_in_a_minute_name_the_slot(broker, exactly_once):
    broker.errors["commit"] = [error(KafkaError._FENCED, fatal=True) for _ in range(3)]
    for _ in range(2):
        with pytest.raises(PublishError):
            exactly_once.publish(outbox(), PLACE)

    with pytest.raises(ConfigurationError, match=r"slot app\.env\.group\.0 is used by another live process"):
        exactly_once.publish(outbox(), PLACE)

    assert exactly_once.fences.total == 3


def test_an_outage_that_costs_both_producers_and_the_membership_names_no_rival(exactly_once):
    for what in ("producer", "producer", "member"):
        exactly_once.fences.count(what)

    assert exactly_once.fences.total == 3


def test_a_producer_that_cannot_even_be_purged_is_replaced(broker):
    class Stubborn(FakeProducer):
        def purge(self, in_flight):
            raise KafkaException(error(KafkaError._STATE))

    broker.errors["commit"] = [error(KafkaError.INVALID_RECORD, abort=True)]
    delivery = ExactlyOnce(lambda own: Stubborn(broker, own), "s")
    delivery.open()

    with pytest.raises(PublishError):
        delivery.publish(outbox(), PLACE)

    assert broker.initialised == ["s.a", "s.b", "s.a"]


def test_a_missing_right_ends_the_worker(broker, exactly_once):
    broker.errors["commit"] = [error(KafkaError.TOPIC_AUTHORIZATION_FAILED, abort=True)]

    with pytest.raises(NotPermittedError, match="not permitted to publish"):
        exactly_once.publish(outbox(), PLACE)

    assert broker.aborted == 1, "readers would wait for the transaction to expire"


def test_a_refused_transactional_id_is_named(broker):
    broker.errors["init"] = [error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True)]

    with pytest.raises(NotPermittedError, match=r"WRITE on the transactional id s\.a"):
        ExactlyOnce(lambda own: FakeProducer(broker, own), "s").open()


def test_initialisation_is_tried_again_while_the_broker_asks_for_it(broker):
    broker.errors["init"] = [error(KafkaError._TIMED_OUT, retriable=True)]

    ExactlyOnce(lambda own: FakeProducer(broker, own), "s").open()

    assert broker.initialised == ["s.a", "s.b"]


def at_least_once(broker):
    delivery = AtLeastOnce(lambda own: FakeProducer(broker, own), "s")
    delivery.open()
    return delivery


def test_at_least_once_commits_the_offsets_after_every_record_is_acknowledged(broker):
    consumer = FakeConsumer()

    at_least_once(broker).publish(outbox(), Place(["offsets"], consumer, None))

    assert len(broker.committed) == 2
    assert consumer.offsets == [["offsets"]]


@pytest.mark.parametrize(
    "failure",
    [{"delivery": [error(KafkaError._MSG_TIMED_OUT)]}, {"unacknowledged": 1}, {"refuse": 1}],
    ids=["failed delivery", "no acknowledgement", "refused record"],
)
def test_at_least_once_commits_no_offset_when_a_record_is_not_acknowledged(broker, failure):
    consumer, delivery = FakeConsumer(), at_least_once(broker)
    broker.errors |= failure

    with pytest.raises(PublishError):
        delivery.publish(outbox(), Place(["offsets"], consumer, None))

    assert consumer.offsets == []
    assert delivery.replacements == 1


TOO_LARGE = error(KafkaError.MSG_SIZE_TOO_LARGE, abort=True)


@pytest.mark.parametrize("make", [None, at_least_once], ids=["exactly once", "at least once"])
@pytest.mark.parametrize(
    "failure",
    [
        {"refuse": 1, "refusal": KafkaError.MSG_SIZE_TOO_LARGE},
        {"produce": [TOO_LARGE]},
        {"commit": [TOO_LARGE], "delivery": [TOO_LARGE]},
    ],
    ids=["a batch by the client", "a letter by the client", "by the broker"],
)
def test_a_record_that_is_too_large_is_told_apart(broker, exactly_once, make, failure):
    delivery = exactly_once if make is None else make(broker)
    broker.errors |= {call: list(errors) if isinstance(errors, list) else errors for call, errors in failure.items()}

    with pytest.raises(TooLargeError):
        delivery.publish(
            Outbox(outbox().messages, [Letter("dead", 0, None, b"3", [])]), Place([], FakeConsumer(), None)
        )
