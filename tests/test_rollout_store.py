"""One rollout is in force, it is swapped whole, and every one that ever was is kept."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from models.folder import FolderStore
from models.registry import Version
from models.rollout import Changed, first, from_json, to_json
from models.rollout_store import CURRENT_KEY, RolloutStore
from models.store import ConflictError, NotStoredError, StoreUnavailableError, open_store
from schemas.errors import ConfigurationError

MODEL = Version("card-fraud", "1")
NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)


@pytest.fixture(params=["folder", "s3"])
def reopen(request, tmp_path):
    """A function that opens the rollouts of one store once more, as another process would."""
    if request.param == "folder":
        return lambda: RolloutStore(open_store(str(tmp_path / "store")))
    s3 = request.getfixturevalue("s3")
    return lambda: RolloutStore(open_store(f"s3://{s3.bucket}/fraud", s3.proxy.url))


@pytest.fixture
def rollouts(reopen):
    return reopen()


@pytest.fixture
def folder(tmp_path):
    """Rollouts that a test may damage by hand."""
    return RolloutStore(FolderStore(tmp_path / "store"))


def changed(who="alice"):
    return Changed(who, NOW, "because", "set")


def start(who="alice"):
    return first(MODEL, changed(who))


def following(document, who="bob"):
    return replace(document, epoch=document.epoch + 1, changed=changed(who))


def change(rollouts, who):
    """Read, decide and write, again until nobody was quicker; how often somebody was."""
    for conflicts in range(100):
        document, etag = rollouts.current()
        try:
            rollouts.write(following(document, who), etag)
        except ConflictError:
            continue
        return conflicts
    raise AssertionError


class Dying:
    """A store that is gone after so many writes."""

    def __init__(self, store, writes):
        self.store, self.left = store, writes

    def __getattr__(self, name):
        return getattr(self.store, name)

    def _write(self, name, *arguments):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return getattr(self.store, name)(*arguments)

    def create(self, *arguments):
        return self._write("create", *arguments)

    def replace(self, *arguments):
        return self._write("replace", *arguments)


def test_a_rollout_is_in_force_once_it_is_written(rollouts):
    etag = rollouts.write(start(), None)

    assert rollouts.current() == (start(), etag)
    assert rollouts.at(1) == start()
    assert rollouts.history() == [start()]


def test_what_was_in_force_is_kept(rollouts):
    etag = rollouts.write(start(), None)
    second = following(start())
    rollouts.write(following(second), rollouts.write(second, etag))

    assert rollouts.history() == [start(), second, following(second)]
    assert (rollouts.at(1), rollouts.at(2)) == (start(), second)


def test_without_a_rollout_that_is_said(rollouts):
    with pytest.raises(NotStoredError, match=r"there is no rollout in .* yet"):
        rollouts.current()
    assert rollouts.history() == []


def test_a_rollout_that_never_was_is_not_there(rollouts):
    rollouts.write(start(), None)

    with pytest.raises(NotStoredError, match=r"no rollout 2 in .*, only 1 to 1"):
        rollouts.at(2)


def test_only_a_change_is_read(rollouts):
    etag = rollouts.write(start(), None)

    assert rollouts.changed_since(etag) is None
    second = rollouts.write(following(start()), etag)
    assert rollouts.changed_since(etag) == (following(start()), second)


def test_two_who_change_the_same_rollout_do_not_both_win(reopen):
    one, other = reopen(), reopen()
    etag = one.write(start(), None)
    one.write(following(start(), "bob"), etag)

    with pytest.raises(ConflictError, match=r"current\.json in .* was changed by somebody else"):
        other.write(following(start(), "carol"), etag)
    assert other.current()[0].changed.who == "bob"
    assert [each.changed.who for each in other.history()] == ["alice", "bob"]


def test_of_many_who_write_the_first_rollout_exactly_one_wins(reopen):
    def attempt(who):
        try:
            reopen().write(start(who), None)
        except ConflictError:
            return None
        return who

    with ThreadPoolExecutor(4) as pool:
        (winner,) = [who for who in pool.map(attempt, ["a", "b", "c", "d"]) if who]

    assert reopen().current()[0].changed.who == winner
    assert reopen().history() == [start(winner)]


def test_promoters_who_race_and_try_again_all_get_their_turn(reopen):
    reopen().write(start(), None)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda who: [change(reopen(), who) for _ in range(3)], ["bob", "carol"]))

    history = reopen().history()
    assert [each.epoch for each in history] == list(range(1, 8))
    assert sorted(each.changed.who for each in history) == ["alice"] + ["bob"] * 3 + ["carol"] * 3


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_whoever_dies_on_the_way_leaves_one_rollout_in_force_and_nothing_to_mend_by_hand(folder, writes):
    etag = folder.write(start(), None)
    (folder.store.root / "rollout" / "history" / "000001.json").unlink()

    with pytest.raises(KeyboardInterrupt):
        RolloutStore(Dying(folder.store, writes)).write(following(start()), etag)

    survivors = [start(), following(start())][: 2 if writes == 2 else 1]
    assert folder.current()[0] == survivors[-1]
    assert folder.history() == survivors
    assert [folder.at(each.epoch) for each in survivors] == survivors
    change(folder, "carol")
    assert folder.history() == [*survivors, following(survivors[-1], "carol")]
    assert folder.store.keys("rollout/history/") == [
        f"rollout/history/00000{epoch}.json" for epoch in range(1, len(survivors) + 2)
    ]


def test_a_first_rollout_whose_writer_died_behind_the_swap_is_in_force_and_gets_its_entry_from_the_next(folder):
    with pytest.raises(KeyboardInterrupt):
        RolloutStore(Dying(folder.store, 1)).write(start(), None)

    assert folder.current()[0] == start()
    assert folder.history() == [start()]
    change(folder, "carol")
    assert folder.store.keys("rollout/history/") == ["rollout/history/000001.json", "rollout/history/000002.json"]


def test_a_store_that_goes_away_behind_the_swap_does_not_undo_it(folder, monkeypatch):
    etag = folder.write(start(), None)
    create = folder.store.create

    def gone(key, content):
        if key.endswith("000002.json"):
            raise StoreUnavailableError("the lights went out")
        return create(key, content)

    monkeypatch.setattr(folder.store, "create", gone)
    folder.write(following(start()), etag)

    assert folder.current()[0] == following(start())
    assert folder.history() == [start(), following(start())]


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_rollout_follows_upon_the_one_in_force(rollouts, epoch):
    etag = rollouts.write(start(), None)

    with pytest.raises(ConfigurationError, match="epoch: rollout 2 is the next one in"):
        rollouts.write(replace(start(), epoch=epoch), etag)


def test_an_insane_rollout_is_not_written(rollouts):
    with pytest.raises(ConfigurationError, match="salt_id"):
        rollouts.write(replace(start(), salt_id="feature-samples-1"), None)
    assert rollouts.history() == []


def test_a_rollout_that_was_removed_by_hand_is_not_begun_anew_over_its_history(folder):
    folder.write(start(), None)
    (folder.store.root / CURRENT_KEY).unlink()

    with pytest.raises(ConflictError, match="put back or removed by hand"):
        folder.write(start("bob"), None)


def test_a_rollout_that_was_put_back_by_hand_does_not_overwrite_what_came_after(folder):
    etag = folder.write(start(), None)
    folder.write(following(start()), etag)
    (folder.store.root / CURRENT_KEY).write_bytes(to_json(start()))

    with pytest.raises(ConflictError, match="put back or removed by hand"):
        change_once(folder)
    assert folder.at(2) == following(start())


def test_a_rollout_that_was_lost_goes_on_from_the_last_entry_of_its_history(folder):
    folder.write(start(), None)
    (folder.store.root / CURRENT_KEY).unlink()
    (folder.store.root / CURRENT_KEY).write_bytes(folder.store.get("rollout/history/000001.json").content)

    change(folder, "carol")

    assert folder.history() == [start(), following(start(), "carol")]


def test_a_history_that_tells_another_story_is_named(folder):
    folder.write(start(), None)
    (folder.store.root / "rollout" / "history" / "000001.json").write_bytes(to_json(start("mallory")))

    with pytest.raises(ConfigurationError, match=r"000001\.json in .* is not the rollout 1 of"):
        change_once(folder)


def change_once(rollouts):
    document, etag = rollouts.current()
    rollouts.write(following(document), etag)


def test_a_damaged_rollout_is_named_with_its_key(folder):
    folder.write(start(), None)
    path = folder.store.root / CURRENT_KEY
    path.write_bytes(path.read_bytes().replace(b'"unit"', b'"units"'))

    with pytest.raises(ConfigurationError, match=r"rollout/current\.json in .*unit"):
        folder.current()


def test_what_is_kept_is_the_document_to_the_byte(folder):
    folder.write(start(), None)

    kept = folder.store.get("rollout/history/000001.json").content
    assert kept == folder.store.get(CURRENT_KEY).content == to_json(start())
    assert from_json(kept, "kept") == start()
