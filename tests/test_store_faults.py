"""S3 as it is on a bad day: what a store makes of it is the whole object, the truth about a write, or an error."""

import json
import os
import threading
import urllib.request
from base64 import b64encode
from hashlib import sha256

import boto3
import pytest
import s3_proxy as fault
from botocore.config import Config

from models.s3 import S3Store
from models.s3_download import Patience
from models.store import ConflictError, NotStoredError, StoreUnavailableError
from schemas.errors import ConfigurationError, NotPermittedError

LARGE = os.urandom(2**20)
HURRIED = Patience(connect=2, read=0.5, attempts=3, grace=1, least_rate=2**30)


@pytest.fixture
def store(s3):
    return S3Store(s3.bucket, "", s3.proxy.url, HURRIED)


@pytest.fixture
def other(s3):
    """Somebody else's store, whose connection is good."""
    return S3Store(s3.bucket, "", s3.direct)


def put_plainly(s3, key, content):
    """As another tool does: without a checksum that could tell a mixture or a short body."""
    config = Config(request_checksum_calculation="when_required")
    boto3.client("s3", endpoint_url=s3.direct, config=config).put_object(Bucket=s3.bucket, Key=key, Body=content)


def methods(s3):
    return [method for method, _, _ in s3.proxy.seen]


def test_a_write_carries_its_condition_and_its_checksum(s3, store):
    etag = store.create("rollout", b"first")
    store.replace("rollout", b"second", etag)

    created, replaced = (headers for method, _, headers in s3.proxy.seen if method == "PUT")
    assert created["If-None-Match"] == "*"
    assert replaced["If-Match"] == etag
    assert created["x-amz-checksum-sha256"] == b64encode(sha256(b"first").digest()).decode()


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
def test_throttling_and_server_errors_that_pass_are_not_noticed(s3, store, status, code):
    s3.proxy.next("PUT", fault.refusing(status, code))
    s3.proxy.next("GET", fault.refusing(status, code))

    store.create("rollout", b"first")

    assert store.get("rollout").content == b"first"


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_throttling_and_server_errors_that_stay_are_a_store_that_is_away(s3, store, other, status, code):
    other.create("rollout", b"first")
    s3.proxy.next("GET", *[fault.refusing(status, code)] * 3)

    with pytest.raises(StoreUnavailableError, match=rf"rollout in s3://.*: S3 is too busy or out of order \({code}\)"):
        store.get("rollout")
    assert store.get("rollout").content == b"first"


def test_nobody_listening_is_a_store_that_is_away(s3, store):
    s3.proxy.close()

    for attempt in (
        lambda: store.get("rollout"),
        lambda: store.get_if_changed("rollout", "etag"),
        lambda: store.create("rollout", b""),
        lambda: store.replace("rollout", b"", "etag"),
        lambda: store.keys(""),
    ):
        with pytest.raises(StoreUnavailableError, match="S3 does not answer"):
            attempt()


def test_a_server_that_never_answers_is_given_up(s3, store):
    s3.proxy.next("GET", *[fault.silent] * 3)

    with pytest.raises(StoreUnavailableError, match=r"S3 does not answer \(ReadTimeoutError\)"):
        store.get("rollout")


def test_a_body_that_is_cut_is_completed_and_only_what_is_missing_is_read_again(s3, store, other):
    other.create("model", LARGE)
    s3.proxy.next("GET", fault.cutting(700_000), fault.cutting(100_000))

    assert store.get("model").content == LARGE
    ranges = [headers.get("Range") for method, _, headers in s3.proxy.seen if method == "GET"]
    assert ranges == [None, "bytes=700000-", "bytes=800000-"]


def test_a_body_that_is_cut_each_time_is_never_a_short_model(s3, store):
    put_plainly(s3, "model", LARGE)
    s3.proxy.next("GET", *[fault.cutting(1000)] * 3)

    with pytest.raises(StoreUnavailableError, match="model did not arrive whole in 3 attempts"):
        store.get("model")


def test_a_body_that_trickles_is_given_up_although_it_is_never_silent(s3, store, other):
    other.create("model", LARGE)
    s3.proxy.next("GET", *[fault.trickling(0.05)] * 3)

    with pytest.raises(StoreUnavailableError, match="model arrives too slowly"):
        store.get("model")


def test_a_body_that_stalls_is_completed_over_another_connection(s3, store, other):
    other.create("model", LARGE)

    def stalling(handler, forward):
        answer, content = forward()
        handler.begin(answer, len(content))
        handler.wfile.write(content[:5000])
        handler.wait_for_the_client_to_leave()

    s3.proxy.next("GET", stalling)

    assert store.get("model").content == LARGE


def test_a_body_that_was_damaged_on_its_way_is_read_again(s3, store, other):
    other.create("model", LARGE)
    s3.proxy.next("GET", fault.damaging)

    assert store.get("model").content == LARGE


def test_an_object_that_changes_during_its_download_is_the_new_one_whole(s3, store, other):
    put_plainly(s3, "model", LARGE)
    newer = os.urandom(2**20)
    s3.proxy.next("GET", fault.cutting(700_000, lambda: put_plainly(s3, "model", newer)))

    stored = store.get("model")

    assert stored.content == newer
    assert stored.etag == other.get("model").etag
    # The rest of the old version was asked for, and refused.
    assert methods(s3).count("GET") == 3


def test_an_object_that_shrinks_during_its_download_is_the_new_one_too(s3, store, other):
    etag = other.create("model", LARGE)
    s3.proxy.next("GET", fault.cutting(700_000, lambda: other.replace("model", b"short", etag)))

    assert store.get("model").content == b"short"


def test_an_object_that_is_removed_during_its_download_is_not_there(s3, store, other):
    other.create("model", LARGE)

    def remove():
        boto3.client("s3", endpoint_url=s3.direct).delete_object(Bucket=s3.bucket, Key="model")

    s3.proxy.next("GET", fault.cutting(700_000, remove))

    with pytest.raises(NotStoredError):
        store.get("model")


def test_an_object_that_is_too_large_is_refused_before_it_is_read(s3, store, other):
    other.create("model", LARGE)
    s3.proxy.next("GET", fault.trickling(0.05))

    with pytest.raises(ConfigurationError, match="has more than 1,000 bytes and was not read"):
        store.get("model", most=1000)


def test_a_create_whose_answer_was_lost_knows_that_it_was_its_own(s3, store):
    s3.proxy.next("PUT", fault.losing_the_answer)

    etag = store.create("rollout", b"first")

    assert etag == store.get("rollout").etag
    assert methods(s3)[:3] == ["PUT", "PUT", "HEAD"]


def test_a_replace_whose_answer_was_lost_knows_that_it_was_its_own(s3, store):
    etag = store.create("rollout", b"first")
    s3.proxy.next("PUT", fault.losing_the_answer)

    assert store.replace("rollout", b"second", etag) == store.get("rollout").etag


def test_an_answer_that_was_lost_hides_no_conflict(s3, store, other):
    other.create("rollout", b"other")
    s3.proxy.next("PUT", fault.losing_the_answer)

    with pytest.raises(ConflictError):
        store.create("rollout", b"first")


def test_two_writes_that_meet_are_told_to_ask_again_and_do(s3, store):
    s3.proxy.next("PUT", fault.refusing(409, "ConditionalRequestConflict"))

    store.create("rollout", b"first")

    assert store.get("rollout").content == b"first"


def test_writes_that_keep_meeting_others_are_given_up(s3, store):
    s3.proxy.next("PUT", *[fault.refusing(409, "ConditionalRequestConflict")] * 3)

    with pytest.raises(StoreUnavailableError, match="others keep writing to it"):
        store.create("rollout", b"first")


def test_of_two_promoters_on_bad_connections_exactly_one_wins(s3, other):
    etag = other.create("rollout", b"start")
    s3.proxy.next("PUT", fault.refusing(503, "SlowDown"), fault.losing_the_answer)
    won, lost = [], []

    def promote(content):
        try:
            S3Store(s3.bucket, "", s3.proxy.url, HURRIED).replace("rollout", content, etag)
            won.append(content)
        except ConflictError:
            lost.append(content)

    promoters = [threading.Thread(target=promote, args=(content,)) for content in (b"one", b"two")]
    for promoter in promoters:
        promoter.start()
    for promoter in promoters:
        promoter.join()

    assert len(won) == len(lost) == 1
    assert other.get("rollout").content == won[0]


def test_a_bucket_that_does_not_exist_is_named(s3):
    with pytest.raises(ConfigurationError, match="s3://no-such-bucket-here: there is no such bucket") as refusal:
        S3Store("no-such-bucket-here", "", s3.direct).keys("")

    assert refusal.value.exit_code == 78


def test_no_credentials_are_not_permitted(s3, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    with pytest.raises(NotPermittedError, match="cannot be used: Unable to locate credentials"):
        S3Store(s3.bucket, "", s3.direct).get("rollout")


def test_an_endpoint_that_is_no_address_is_a_wrong_setting():
    with pytest.raises(ConfigurationError, match="Invalid endpoint"):
        S3Store("bucket", "", "not an address")


@pytest.fixture
def reader(s3, other, monkeypatch):
    """Somebody who may read and nothing else, at a server that looks at credentials."""
    other.create("rollout", b"first")
    iam = boto3.client("iam", endpoint_url=s3.direct)
    name = f"reader-{s3.bucket}"
    iam.create_user(UserName=name)
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{s3.bucket}/*"}],
    }
    iam.put_user_policy(UserName=name, PolicyName="read", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    _requests_without_rights(s3, 0)
    yield S3Store(s3.bucket, "", s3.direct)
    _requests_without_rights(s3, 10**9)


def _requests_without_rights(s3, count):
    """moto looks at rights only after so many requests."""
    url, plain = f"{s3.direct}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(url, str(count).encode(), plain)).close()


def test_a_missing_right_is_named_with_what_it_was_needed_for(s3, reader):
    assert reader.get("rollout").content == b"first"

    with pytest.raises(
        NotPermittedError, match=rf"s3:PutObject on s3://{s3.bucket}/rollout is not permitted"
    ) as refusal:
        reader.create("rollout", b"second")
    assert refusal.value.exit_code == 77
    with pytest.raises(NotPermittedError, match="s3:ListBucket on"):
        reader.keys("")
