"""What a store promises, the same in a folder and in S3."""

import fcntl
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from worker_stream import wait_until

from models.folder import FolderStore
from models.s3 import S3Store
from models.store import ConflictError, NotStoredError, StoreUnavailableError, open_store
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError


@pytest.fixture(params=["folder", "s3"])
def reopen(request, tmp_path):
    """A function that opens the same store once more, as another process would."""
    if request.param == "folder":
        return lambda: open_store(str(tmp_path / "store"))
    s3 = request.getfixturevalue("s3")
    return lambda: open_store(f"s3://{s3.bucket}/team", s3.proxy.url)


@pytest.fixture
def store(reopen):
    return reopen()


def count_up(store, times):
    """Add 1 as often, as a promoter does who reads, decides and is told when somebody was quicker."""
    conflicts = 0
    for _ in range(times):
        while True:
            current = store.get("counter")
            try:
                store.replace("counter", str(int(current.content) + 1).encode(), current.etag)
                break
            except ConflictError:
                conflicts += 1
    return conflicts


def created(store, content):
    try:
        return store.create("models/m/1/manifest.json", content) and content
    except ConflictError:
        return None


def test_what_was_created_is_read_back_with_its_etag(store):
    etag = store.create("models/m/1/model.ubj", b"trees")

    stored = store.get("models/m/1/model.ubj")

    assert (stored.content, stored.etag) == (b"trees", etag)


def test_an_empty_object_and_one_of_many_pieces_come_back_whole(store):
    large = os.urandom(3 * 2**20 + 1)
    store.create("empty", b"")
    store.create("large", large)

    assert store.get("empty").content == b""
    assert store.get("large").content == large


def test_what_is_not_there_is_named_with_the_store(store):
    with pytest.raises(NotStoredError, match=r"there is no models/m/2/manifest\.json in .*") as refusal:
        store.get("models/m/2/manifest.json")

    assert store.url in str(refusal.value)
    assert refusal.value.exit_code == 78


def test_a_key_is_created_once(store):
    store.create("rollout", b"first")

    with pytest.raises(ConflictError, match="rollout exists already in"):
        store.create("rollout", b"second")
    assert store.get("rollout").content == b"first"


def test_the_same_bytes_are_no_excuse_to_create_a_key_twice(store):
    store.create("rollout", b"same")

    with pytest.raises(ConflictError):
        store.create("rollout", b"same")


def test_replacing_needs_the_etag_of_what_is_there(store):
    first = store.create("rollout", b"first")
    second = store.replace("rollout", b"second", first)

    with pytest.raises(ConflictError, match="was changed by somebody else"):
        store.replace("rollout", b"third", first)
    assert store.get("rollout").content == b"second"
    assert second == store.get("rollout").etag != first


def test_replacing_what_is_not_there_is_a_conflict(store):
    etag = store.create("rollout", b"first")

    with pytest.raises(ConflictError):
        store.replace("another", b"second", etag)
    with pytest.raises(NotStoredError):
        store.get("another")


def test_only_a_change_is_read(store):
    first = store.create("rollout", b"first")

    assert store.get_if_changed("rollout", first) is None
    second = store.replace("rollout", b"second", first)
    changed = store.get_if_changed("rollout", first)
    assert (changed.content, changed.etag) == (b"second", second)


def test_asking_for_a_change_of_what_is_not_there_says_so(store):
    with pytest.raises(NotStoredError):
        store.get_if_changed("rollout", "etag")


def test_keys_are_listed_by_prefix_in_order(store):
    for key in ("models/b/1/x", "models/a/2/x", "models/a/10/x", "rollout"):
        store.create(key, b"")

    assert store.keys("models/") == ["models/a/10/x", "models/a/2/x", "models/b/1/x"]
    assert store.keys("models/a/1") == ["models/a/10/x"]
    assert store.keys("nothing") == []
    assert len(store.keys("")) == 4


def test_an_object_that_is_too_large_is_refused(store):
    store.create("large", bytes(1001))

    with pytest.raises(ConfigurationError, match=r"large in .* has more than 1,000 bytes"):
        store.get("large", most=1000)
    assert len(store.get("large", most=1001).content) == 1001


def test_progress_ends_at_the_size_of_the_object(store):
    sent, received = [], []

    store.create("large", bytes(2 * 2**20), sent.append)
    store.get("large", progress=received.append)

    assert sent[-1] == received[-1] == 2 * 2**20


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../up", "a/../b", ".hidden", "a/.lock", "a//b", "a/", "a\nb", "é"])
def test_a_key_can_neither_leave_the_store_nor_hide_in_it(store, key):
    for attempt in (
        lambda: store.get(key),
        lambda: store.create(key, b""),
        lambda: store.replace(key, b"", "etag"),
    ):
        with pytest.raises(ConfigurationError, match="is no key of a store"):
            attempt()


def test_of_many_who_create_a_key_at_once_exactly_one_wins(reopen):
    stores = [reopen() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(created, stores, [b"%d" % number for number in range(8)]))

    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    assert reopen().get("models/m/1/manifest.json").content == winner


def test_two_promoters_who_race_lose_no_change_of_the_other(reopen):
    reopen().create("counter", b"0")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(count_up, [reopen(), reopen()], [20, 20]))

    assert reopen().get("counter").content == b"40"


def test_the_loser_of_a_race_can_read_again_and_retry(reopen):
    one, other = reopen(), reopen()
    one.create("rollout", b"start")
    seen_by_one, seen_by_other = one.get("rollout"), other.get("rollout")
    one.replace("rollout", b"one", seen_by_one.etag)

    with pytest.raises(ConflictError):
        other.replace("rollout", b"other", seen_by_other.etag)
    other.replace("rollout", b"other", other.get("rollout").etag)
    assert one.get("rollout").content == b"other"


def test_processes_on_one_folder_lose_no_change_either(tmp_path):
    store = FolderStore(tmp_path)
    store.create("counter", b"0")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(_count_in_folder, [(tmp_path, 50)] * 2)

    assert store.get("counter").content == b"100"
    assert list((tmp_path / ".scratch").iterdir()) == []


def _count_in_folder(path, times):
    return count_up(FolderStore(path), times)


def test_a_replacement_waits_for_another_process_and_then_sees_what_that_did(tmp_path):
    store = FolderStore(tmp_path)
    etag = store.create("rollout", b"start")
    with ThreadPoolExecutor(1) as pool:
        with (tmp_path / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            replacing = pool.submit(store.replace, "rollout", b"late", etag)
            wait_until(lambda: replacing.done() or list((tmp_path / ".scratch").iterdir()))
            (tmp_path / "rollout").write_bytes(b"early")

        with pytest.raises(ConflictError):
            replacing.result(10)
    assert store.get("rollout").content == b"early"


def test_a_half_written_file_in_a_folder_is_no_key(tmp_path):
    store = FolderStore(tmp_path)
    store.replace("models/m/1/manifest.json", b"{}", store.create("models/m/1/manifest.json", b""))
    (tmp_path / ".scratch" / "left-by-a-crash").write_bytes(b"{")

    assert store.keys("") == ["models/m/1/manifest.json"]


def test_a_folder_that_cannot_be_written_is_not_permitted(tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "store")
    store.create("rollout", b"first")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied", "the file")

    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(NotPermittedError, match=r"the file in the store .*: permission denied"):
        store.create("another", b"")


def test_a_full_disk_is_a_store_that_is_away_and_leaves_nothing(tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "store")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StoreUnavailableError, match="No space left on device"):
        store.create("rollout", b"first")
    assert store.keys("") == []
    assert list((tmp_path / "store" / ".scratch").iterdir()) == []


def test_a_folder_is_opened_by_path_and_by_url(tmp_path):
    open_store(str(tmp_path / "a b")).create("key", b"value")

    assert open_store(f"file://{tmp_path}/a%20b").get("key").content == b"value"


def test_s3_keys_stand_under_the_prefix(s3):
    open_store(f"s3://{s3.bucket}/team/", s3.proxy.url).create("key", b"value")

    assert S3Store(s3.bucket, endpoint=s3.proxy.url).keys("") == ["team/key"]
    assert open_store(f"s3://{s3.bucket}", s3.proxy.url).url == f"s3://{s3.bucket}"


def test_the_address_of_the_service_may_come_from_boto3s_own_variable(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.proxy.url)

    assert open_store(f"s3://{s3.bucket}").keys("") == []


@pytest.mark.parametrize("url", ["", "s3://", "http://host/path", "gs://bucket"])
def test_an_address_that_is_no_store_is_named(url):
    with pytest.raises(FraudstreamError, match="store: ") as refusal:
        open_store(url)

    assert refusal.value.exit_code == 78
