"""The registry of models: a version is whole, never changes, and comes back as the bytes it was."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from models.artifact import read_directory
from models.folder import FolderStore
from models.manifest import from_json, to_json
from models.registry import Registry, Version
from models.store import ConflictError, NotStoredError, StoreUnavailableError, open_store
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a model, by name."""
    path = tmp_path_factory.mktemp("models") / "model"
    train_to(path, read_dataset(sample_path()), TrainingSettings(name="m", version="1"))
    return read_directory(path)


@pytest.fixture(params=["folder", "s3"])
def registry(request, tmp_path):
    if request.param == "folder":
        return Registry(FolderStore(tmp_path / "store"))
    s3 = request.getfixturevalue("s3")
    return Registry(open_store(f"s3://{s3.bucket}/fraud", s3.proxy.url))


@pytest.fixture
def folder(tmp_path):
    """A registry that a test may damage by hand."""
    return Registry(FolderStore(tmp_path / "store"))


def published(registry, files):
    try:
        return registry.publish(files)
    except ConflictError:
        return "refused"


def path_of(registry, file):
    return registry.store.root / "models" / "m" / "1" / file


def renamed(files, **changes):
    manifest = from_json(files["manifest.json"], "manifest")
    return {**files, "manifest.json": to_json(replace(manifest, **changes))}


class Dying:
    """A store whose user dies before the manifest is written."""

    def __init__(self, store):
        self.store = store

    def __getattr__(self, name):
        return getattr(self.store, name)

    def create(self, key, content, progress):
        if key.endswith("manifest.json"):
            raise StoreUnavailableError("the lights went out")
        return self.store.create(key, content, progress)


def test_a_published_version_comes_back_as_the_bytes_it_was(registry, files):
    assert registry.publish(files)

    assert registry.fetch(Version("m", "1")) == files
    assert registry.store.keys("") == [f"models/m/1/{name}" for name in sorted(files)]


def test_the_same_bytes_again_are_nothing_new(registry, files):
    registry.publish(files)

    assert not registry.publish(files)


def test_other_bytes_under_the_same_version_are_refused_and_change_nothing(registry, files):
    registry.publish(files)
    other = {**renamed(files, settings={"seed": 8}), "manifest.sig": b"of the other"}

    with pytest.raises(ConflictError, match=r"m@1 is published, .* with another manifest\.json, .* never changes"):
        registry.publish(other)
    assert registry.fetch(Version("m", "1")) == files


def test_versions_are_listed_by_name(registry, files):
    for name, version in (("m", "2"), ("a", "9"), ("m", "10")):
        registry.publish(renamed(files, name=name, version=version))

    assert [str(version) for version in registry.versions()] == ["a@9", "m@10", "m@2"]
    assert registry.manifest(Version("a", "9")).name == "a"


def test_a_version_does_not_exist_before_all_of_it_does(registry, files):
    with pytest.raises(StoreUnavailableError):
        Registry(Dying(registry.store)).publish(files)

    assert registry.store.keys("models/m/1/model.ubj")
    assert registry.versions() == []
    with pytest.raises(NotStoredError, match="m@1 is not published in"):
        registry.fetch(Version("m", "1"))


def test_a_publication_that_was_broken_off_is_completed_by_the_same_one(registry, files):
    with pytest.raises(StoreUnavailableError):
        Registry(Dying(registry.store)).publish(files)

    assert registry.publish(files)
    assert registry.fetch(Version("m", "1")) == files


def test_a_publication_that_was_broken_off_is_not_mixed_with_another(folder, files):
    folder.store.create("models/m/1/model.ubj", b"of another training")

    with pytest.raises(ConflictError, match=r"or was begun to be, with another model\.ubj"):
        folder.publish(files)
    assert folder.versions() == []


def test_of_two_who_publish_one_version_at_once_exactly_one_publishes_it(folder, files):
    others = [renamed(files, settings={"seed": seed}) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(published, [Registry(FolderStore(folder.store.root)) for _ in others], others))

    assert sorted(outcomes, key=str) == [True, "refused", "refused", "refused"]
    assert folder.fetch(Version("m", "1")) == others[outcomes.index(True)]


def test_files_that_are_not_what_their_manifest_says_are_not_published(folder, files):
    with pytest.raises(ConfigurationError, match=r"model\.ubj is not the file its manifest describes"):
        folder.publish({**files, "model.ubj": b"{"})
    assert folder.store.keys("") == []


def test_a_signature_is_kept_and_may_come_later(folder, files):
    folder.publish(files)
    signed = {**files, "manifest.sig": b"a signature"}

    assert not folder.is_signed(Version("m", "1"))
    assert not folder.publish(signed)
    assert folder.is_signed(Version("m", "1"))
    assert folder.fetch(Version("m", "1")) == signed
    with pytest.raises(ConflictError, match=r"another manifest\.sig"):
        folder.publish({**files, "manifest.sig": b"another"})


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"\0" + content[1:]])
def test_a_file_that_was_altered_in_the_store_is_never_handed_out(folder, files, damage):
    folder.publish(files)
    path_of(folder, "model.ubj").write_bytes(damage(files["model.ubj"]))

    with pytest.raises(ConfigurationError, match=r"models/m/1/model\.ubj in .* is not the file its manifest describes"):
        folder.fetch(Version("m", "1"))


def test_a_file_that_grew_in_the_store_is_not_even_read(folder, files):
    folder.publish(files)
    path_of(folder, "model.ubj").write_bytes(files["model.ubj"] + b"\0")

    with pytest.raises(ConfigurationError, match="was not read"):
        folder.fetch(Version("m", "1"))


def test_a_file_that_is_gone_is_named(folder, files):
    folder.publish(files)
    path_of(folder, "model.ubj").unlink()

    with pytest.raises(NotStoredError, match=r"there is no models/m/1/model\.ubj"):
        folder.fetch(Version("m", "1"))


def test_a_manifest_under_another_name_is_not_taken_for_that_version(folder, files):
    folder.publish(files)
    for name, content in files.items():
        folder.store.create(f"models/m/2/{name}", content)

    with pytest.raises(ConfigurationError, match=r"models/m/2/manifest\.json in .* is the manifest of m@1"):
        folder.fetch(Version("m", "2"))


def test_whoever_watches_is_told_of_each_file_up_to_its_end(registry, files):
    told = {}

    registry.publish(files, lambda name, done, size: told.update({name: (done, size)}))
    assert told == {name: (len(content), len(content)) for name, content in files.items()}

    told.clear()
    registry.fetch(Version("m", "1"), lambda name, done, size: told.update({name: (done, size)}))
    assert told["model.ubj"] == (len(files["model.ubj"]),) * 2


@pytest.mark.parametrize("text", ["", "m", "m@", "@1", "m@1@2", "../m@1", "m@a/b", "m@.hidden", "m@" + "1" * 129])
def test_what_is_no_name_and_version_is_refused(text):
    with pytest.raises(ConfigurationError, match="cannot be part of NAME@VERSION"):
        Version.parse(text)


def test_a_manifest_is_kept_as_it_was_written_not_as_we_would_write_it(folder, files):
    spaced = {**files, "manifest.json": json.dumps(json.loads(files["manifest.json"])).encode()}

    folder.publish(spaced)

    assert folder.fetch(Version("m", "1")) == spaced
