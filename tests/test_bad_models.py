"""A model that is damaged, forged or no model: refused with a reason, and the one in use goes on scoring."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path

import joblib
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models import artifact, ubjson
from models.manifest import MANIFEST_FILE, MODEL_FILE, SIGNATURE_FILE, to_json
from models.sandbox import Sandbox
from models.train import TrainingSettings, train
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import BadModelError, FraudstreamError

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEYS = (Ed25519PrivateKey.from_private_bytes(b"\1" * 32).public_key(), SECRET.public_key())


@pytest.fixture(scope="module")
def sample():
    return read_dataset(sample_path())


@pytest.fixture(scope="module")
def good(sample):
    """The files of a small model, signed."""
    trained = train(sample, TrainingSettings(rounds=20))
    return signed({**trained.boosters, MANIFEST_FILE: to_json(trained.manifest)})


@pytest.fixture(scope="module")
def rows(sample):
    return sample.frame[list(sample.features)].to_numpy(np.float32)[-500:]


@pytest.fixture(scope="module")
def in_use(good, sandbox, rows):
    model = artifact.from_files(good, "in use", keys=KEYS, sandbox=sandbox)
    return model, model.score(rows)


@pytest.fixture
def refused(sandbox, in_use, rows):
    """A function that asserts that files are refused for a reason in one line, and that nothing else changed."""

    def check(files, reason, keys=()):
        with pytest.raises(BadModelError, match=reason) as refusal:
            artifact.from_files(files, "s3://models/cards/7", keys=keys, sandbox=sandbox)
        assert "\n" not in str(refusal.value)
        assert "s3://models/cards/7" in str(refusal.value)
        assert np.array_equal(in_use[0].score(rows), in_use[1])

    return check


def signed(files):
    return {**files, SIGNATURE_FILE: SECRET.sign(files[MANIFEST_FILE])}


def with_manifest(files, change):
    manifest = json.loads(files[MANIFEST_FILE])
    change(manifest)
    return {**files, MANIFEST_FILE: json.dumps(manifest).encode()}


def with_model(files, content):
    """Another model file, with a manifest that vouches for it."""
    described = {MODEL_FILE: {"sha256": sha256(content).hexdigest(), "size": len(content)}}
    return with_manifest({**files, MODEL_FILE: content}, lambda manifest: manifest["files"].update(described))


def encode(value):
    """UBJSON as XGBoost writes it."""
    if isinstance(value, dict):
        return b"{" + b"".join(encode(name)[1:] + encode(inner) for name, inner in value.items()) + b"}"
    if isinstance(value, str):
        return b"SL" + struct.pack(">q", len(value.encode())) + value.encode()
    if isinstance(value, np.ndarray):
        marker = {"u1": b"U", "i4": b"l", "i8": b"L", "f4": b"d"}[value.dtype.str[1:]]
        return b"[$" + marker + b"#L" + struct.pack(">q", len(value)) + value.tobytes()
    if isinstance(value, list | tuple):
        return b"[#L" + struct.pack(">q", len(value)) + b"".join(map(encode, value))
    return b"l" + struct.pack(">i", value)


def forged(files, change):
    """The model with its document changed, and a manifest that vouches for it."""
    document = ubjson.decode(files[MODEL_FILE])
    change(document)
    return with_model(files, encode(document))


def learner(document):
    return document["learner"]


def forest(document):
    return document["learner"]["gradient_booster"]["model"]


def nodes(name, change, tree=3):
    """A change of one array of one tree."""

    def apply(document):
        array = forest(document)["trees"][tree][name].copy()
        change(array)
        forest(document)["trees"][tree][name] = array

    return apply


def set_at(position, value):
    return lambda array: array.__setitem__(position, value)


def both(*changes):
    return lambda document: [change(document) for change in changes]


def chain(document):
    """A tree of 10,000 nodes in a row, each well-formed."""
    tree, count = forest(document)["trees"][0], 10_001
    at = np.arange(count)
    inner = (at % 2 == 0) & (at < count - 1)
    tree["left_children"] = np.where(inner, at + 1, -1).astype(">i4")
    tree["right_children"] = np.where(inner, at + 2, -1).astype(">i4")
    tree["parents"] = np.where(at == 0, 2**31 - 1, (at - 1) // 2 * 2).astype(">i4")
    for name in ("base_weights", "loss_changes", "split_conditions", "sum_hessian"):
        tree[name] = np.ones(count, ">f4")
    for name, dtype in (("split_indices", ">i4"), ("default_left", "u1"), ("split_type", "u1")):
        tree[name] = np.zeros(count, dtype)
    tree["tree_param"]["num_nodes"] = str(count)


FORGERIES = {
    "child far outside": (nodes("left_children", set_at(0, 2**30)), "a child lies outside its tree"),
    "child just outside": (nodes("right_children", lambda a: a.__setitem__(0, len(a))), "a child lies outside"),
    "child below zero": (nodes("left_children", set_at(0, -2)), "a child lies outside its tree"),
    "root as child": (nodes("left_children", set_at(1, 0)), "a child lies outside its tree"),
    "one child only": (nodes("right_children", set_at(0, -1)), "a child lies outside its tree"),
    "leaf with a right child": (nodes("right_children", set_at(-1, 1)), "a child lies outside its tree"),
    "own child": (nodes("left_children", set_at(1, 1)), "a node is the child of two"),
    "cycle": (nodes("left_children", set_at(2, 2)), "a node is the child of two"),
    "same child twice": (nodes("left_children", set_at(0, 2)), "a node is the child of two"),
    "lost nodes": (
        both(nodes("left_children", set_at(2, -1)), nodes("right_children", set_at(2, -1))),
        "nodes hang on no tree",
    ),
    "chain": (chain, "a tree is deeper than 64"),
    "wrong parent": (nodes("parents", set_at(2, 1)), "a child has another parent"),
    "root with a parent": (nodes("parents", set_at(0, 0)), "a root has a parent"),
    "split on feature 29 of 29": (nodes("split_indices", set_at(0, 29)), "feature that does not exist"),
    "split on feature 2**31 - 1": (nodes("split_indices", set_at(0, 2**31 - 1)), "feature that does not exist"),
    "split on feature -1": (nodes("split_indices", set_at(0, -1)), "feature that does not exist"),
    "default to 7": (nodes("default_left", set_at(0, 7)), "sends missing values nowhere"),
    "NaN leaf": (nodes("split_conditions", set_at(-1, np.nan)), "value of a leaf is not finite"),
    "infinite leaf": (nodes("split_conditions", set_at(-1, np.inf)), "value of a leaf is not finite"),
    "NaN split": (nodes("split_conditions", set_at(0, np.nan)), "compares with no number"),
    "NaN weight": (nodes("sum_hessian", set_at(0, np.nan)), "weight of a node is not finite"),
    "negative weight": (nodes("sum_hessian", set_at(1, -1)), "weight of a node is not finite"),
    "categorical split": (nodes("split_type", set_at(0, 1)), "splits by category"),
    "short array": (
        lambda d: forest(d)["trees"][0].update(parents=forest(d)["trees"][0]["parents"][:-1]),
        "do not have a number for each",
    ),
    "floats for children": (
        lambda d: forest(d)["trees"][0].update(left_children=forest(d)["trees"][0]["base_weights"]),
        "do not have a number for each",
    ),
    "more nodes than arrays": (lambda d: forest(d)["trees"][0]["tree_param"].update(num_nodes="9999"), "9999 nodes"),
    "negative nodes": (lambda d: forest(d)["trees"][0]["tree_param"].update(num_nodes="-1"), "num_nodes"),
    "vector leaves": (lambda d: forest(d)["trees"][0]["tree_param"].update(size_leaf_vector="3"), "size_leaf_vector"),
    "tree of other features": (lambda d: forest(d)["trees"][0]["tree_param"].update(num_feature="3"), "3 features"),
    "tree far outside": (lambda d: forest(d)["trees"][0].update(id=2**30), "tree 0 goes by the id 1073741824"),
    "two trees in one place": (lambda d: forest(d)["trees"][1].update(id=0), "tree 1 goes by the id 0"),
    "too few trees": (lambda d: forest(d)["trees"].pop(), "it counts 20 trees and has 19"),
    "no trees": (lambda d: forest(d).update(trees=[], tree_info=[], iteration_indptr=[0]), "it counts 20 trees"),
    "trees of a second class": (lambda d: forest(d)["tree_info"].__setitem__(0, 1), "more than one class"),
    "rounds past the end": (lambda d: forest(d)["iteration_indptr"].__setitem__(-1, 99), "do not add up"),
    "a round twice": (lambda d: forest(d)["iteration_indptr"].__setitem__(3, 2), "do not add up"),
    "weighted trees": (lambda d: forest(d).update(weight_drop=np.full(20, 0.5, ">f4")), "weight_drop"),
    "three classes": (lambda d: learner(d)["learner_model_param"].update(num_class="3"), "num_class"),
    "two targets": (lambda d: learner(d)["learner_model_param"].update(num_target="2"), "num_target"),
    "base score NaN": (lambda d: learner(d)["learner_model_param"].update(base_score="[nan]"), "base score"),
    "base score of two": (lambda d: learner(d)["learner_model_param"].update(base_score="[1E-1,2E-1]"), "base score"),
    "base score 1": (lambda d: learner(d)["learner_model_param"].update(base_score="[1E0]"), "base score"),
    "other base score": (lambda d: learner(d)["learner_model_param"].update(base_score="[5E-1]"), "golden rows"),
    "fewer features counted": (lambda d: learner(d)["learner_model_param"].update(num_feature="3"), "counts 3 feat"),
    "features reordered": (lambda d: learner(d)["feature_names"].reverse(), "are not those of its manifest"),
    "two features swapped": (
        lambda d: learner(d)["feature_names"].insert(0, learner(d)["feature_names"].pop(1)),
        "are not those of its manifest",
    ),
    "types of some features": (lambda d: learner(d).update(feature_types=["float"]), "types to some"),
    "other objective": (lambda d: learner(d)["objective"].update(name="reg:squarederror"), "reg:squarederror"),
    "linear booster": (lambda d: learner(d)["gradient_booster"].update(name="gblinear"), "gblinear"),
    "no version": (lambda d: d.pop("version"), "version"),
    "other leaves": (nodes("split_conditions", lambda a: np.negative(a, out=a), tree=0), "scores its golden rows"),
    "trees of a newer XGBoost": (lambda d: d.update(version=[99, 0, 0], learner={}), "feature_names"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_model_that_its_manifest_vouches_for_is_refused(good, refused, name):
    change, reason = FORGERIES[name]

    refused(forged(good, change), reason)


def test_the_forger_changes_nothing_by_itself(good, sandbox, in_use, rows):
    model = artifact.from_files(forged(good, lambda document: None), "copy", sandbox=sandbox)

    assert np.array_equal(model.score(rows), in_use[1])


BOMBS = {
    "nested lists": b"{" + b"L" + struct.pack(">q", 1) + b"a" + (b"[#L" + struct.pack(">q", 1)) * 100_000 + b"Z",
    "nested objects": (b"{L" + struct.pack(">q", 1) + b"a") * 100_000,
    "zero-width array": b"{L" + struct.pack(">q", 1) + b"a[$Z#L" + struct.pack(">q", 2**40) + b"}",
    "array of 2**40 numbers": b"{L" + struct.pack(">q", 1) + b"a[$d#L" + struct.pack(">q", 2**40) + b"}",
    "text of 2**62 bytes": b"{L" + struct.pack(">q", 1) + b"aSL" + struct.pack(">q", 2**62) + b"}",
    "negative length": b"{L" + struct.pack(">q", -1) + b"}",
    "a million nulls": b"{L" + struct.pack(">q", 1) + b"a[#L" + struct.pack(">q", 10**6) + b"Z" * 10**6 + b"}",
    "endless array": b"{L" + struct.pack(">q", 1) + b"a[ZZZZ",
    "no UTF-8": b"{L" + struct.pack(">q", 1) + b"\xffZ}",
    "a name twice": b"{" + (b"L" + struct.pack(">q", 1) + b"aZ") * 2 + b"}",
    "nothing in it": b"{}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(good, refused, name):
    refused(with_model(good, BOMBS[name]), "not a whole XGBoost model|not a model of binary:logistic trees")


def test_bytes_after_the_end_are_refused(good, refused):
    refused(with_model(good, good[MODEL_FILE] + b"payload"), "7 bytes follow its end")


def tar(name, link=None, content=b""):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        if link is not None:
            member.type, member.linkname = link, "/etc/passwd"
        file.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def zipped():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../model.ubj", b"{}")
    return archive.getvalue()


class Trap:
    """Unpickled, it leaves a file."""

    def __reduce__(self):
        return (open, ("sprung", "w"))


def joblib_dump(**options):
    content = io.BytesIO()
    joblib.dump(Trap(), content, **options)
    return content.getvalue()


OTHER_KINDS = {
    **{f"pickle {protocol}": (pickle.dumps(Trap(), protocol), "code") for protocol in range(6)},
    "joblib": (joblib_dump(), "a pickle"),
    **{f"joblib {kind}": (joblib_dump(compress=(kind, 3)), "") for kind in ("zlib", "gzip", "bz2", "lzma", "xz")},
    "tar with ..": (tar("../../model.ubj"), "a tar archive"),
    "tar with an absolute path": (tar("/model.ubj"), "a tar archive"),
    "tar with a link": (tar("model.ubj", tarfile.SYMTYPE), "a tar archive"),
    "tar with a hard link": (tar("model.ubj", tarfile.LNKTYPE), "a tar archive"),
    "tar with a device": (tar("model.ubj", tarfile.CHRTYPE), "a tar archive"),
    "tar bomb": (gzip.compress(tar("model.ubj", content=bytes(10**7))), "a gzip archive"),
    "tar.gz with ..": (gzip.compress(tar("../../model.ubj")), "a gzip archive"),
    "gzip bomb": (gzip.compress(bytes(10**7)), "a gzip archive"),
    "gzip of a gzip bomb": (gzip.compress(gzip.compress(bytes(10**7))), "a gzip archive"),
    "zlib bomb": (zlib.compress(bytes(10**7)), "compressed by zlib"),
    "bzip2 bomb": (bz2.compress(bytes(10**7)), "a bzip2 archive"),
    "xz bomb": (lzma.compress(bytes(10**7)), "an xz archive"),
    "zip": (zipped(), "a zip archive"),
    "nothing": (b"", "empty"),
    "JSON": (b'{"learner": {}}', "JSON: save the model"),
    "old XGBoost binary": (b"binf" + bytes(200), "old binary"),
    "ELF": (b"\x7fELF" + bytes(200), "other kinds can carry code"),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "other kinds can carry code"),
    "NUL bytes": (bytes(10_000), "other kinds can carry code"),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_what_is_no_model_is_told_by_its_first_bytes_and_never_opened(good, refused, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, kind = OTHER_KINDS[name]

    refused(with_model(good, content), rf"is not an XGBoost model in UBJ: it is .*{kind}")

    assert not list(tmp_path.iterdir())


MANIFESTS = {
    "empty": (b"", "not a model manifest"),
    "no object": (b"[]", "not a model manifest"),
    "null": (b"null", "not a model manifest"),
    "nested lists": (b"[" * 100_000, "not a model manifest"),
    "nested objects": (b'{"format":2,"x":' + b'{"x":' * 100_000, "not a model manifest"),
    "too large": (b'{"x":"' + b"a" * 2**21 + b'"}', "larger than a manifest may be"),
    "UTF-16": ("{}".encode("utf-16"), "not a model manifest"),
    "a pickle": (pickle.dumps(Trap()), "not a model manifest"),
    "gzip": (gzip.compress(b"{}"), "not a model manifest"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_bytes_that_are_no_manifest_are_refused(good, refused, name):
    content, reason = MANIFESTS[name]

    refused({**good, MANIFEST_FILE: content}, reason)


def named(name):
    return lambda m: m["files"].update({name: {"sha256": "0" * 64, "size": 0}})


CLAIMS = {
    "file in the parent": (named("../secret"), "a file outside its directory"),
    "parent": (named(".."), "a file outside its directory"),
    "absolute file": (named("/etc/passwd"), "a file outside its directory"),
    "backslash": (named("..\\secret"), "a file outside its directory"),
    "line break": (named("a\nb"), "a file outside its directory"),
    "hidden file": (named(".ssh"), "a file outside its directory"),
    "itself": (named("manifest.json"), r"cannot vouch for manifest\.json"),
    "many files": (lambda m: [named(f"f{i}")(m) for i in range(100)], "more than 64 files"),
    "file that is not there": (named("reasons.json"), r"has no reasons\.json"),
    "short digest": (lambda m: m["files"][MODEL_FILE].update(sha256="00"), "no digest and size"),
    "wrong digest": (lambda m: m["files"][MODEL_FILE].update(sha256="0" * 64), "not the file its manifest describes"),
    "wrong size": (lambda m: m["files"][MODEL_FILE].update(size=1), "not the file its manifest describes"),
    "no members": (lambda m: m.update(members=[]), "must have 1 to 32 members"),
    "member outside": (lambda m: m["members"][0].update(file="../model.ubj"), r"names no \.\./model\.ubj among"),
    "member twice": (lambda m: m["members"].append(dict(m["members"][0])), "one file as two members"),
    "weight of 2": (lambda m: m["members"][0].update(weight=2.0), "weights are not positive with a sum of 1"),
    "negative weight": (lambda m: m["members"][0].update(weight=-1.0), "weights are not positive with a sum of 1"),
    "weight NaN": (lambda m: m["members"][0].update(weight=float("nan")), "not a model manifest"),
    "prior shift 1e400": (lambda m: m.update(prior_shift=float("inf")), "not a model manifest"),
    "other prior shift": (lambda m: m.update(prior_shift=0.5), "scores its golden rows otherwise"),
    "no golden rows": (lambda m: m.update(golden_rows=[]), "no golden rows"),
    "short golden row": (lambda m: m["golden_rows"][0]["features"].pop(), "no golden rows with a value for each"),
    "golden score of 2": (lambda m: m["golden_rows"][0].update(score=2.0), "no probability"),
    "golden row of 1e300": (lambda m: m["golden_rows"][0]["features"].__setitem__(0, 1e300), "refused on trial"),
    "no features": (lambda m: m.update(features=[]), "no features"),
    "a feature twice": (lambda m: m["features"].append(dict(m["features"][0])), "or one twice"),
    "features reversed": (lambda m: m["features"].reverse(), "are not those of its manifest"),
    "one feature less": (
        lambda m: [m["features"].pop(), *(row["features"].pop() for row in m["golden_rows"])],
        "are not those of its manifest",
    ),
    "other format": (lambda m: m.update(format=3), "has format 3"),
    "policy upside down": (lambda m: m["policy"].update(review_at=0.9, decline_at=0.1), "higher score on"),
    "unknown way to combine": (lambda m: m.update(combine="vote"), "not a model manifest"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_manifest_that_claims_what_cannot_be_is_refused(good, refused, name):
    change, reason = CLAIMS[name]

    refused(with_manifest(good, change), reason)


def test_a_manifest_that_names_something_twice_is_refused(good, refused):
    twice = good[MANIFEST_FILE].replace(b'"prior_shift"', b'"prior_shift": 0.0, "prior_shift"', 1)

    refused({**good, MANIFEST_FILE: twice}, "names something twice")


@pytest.mark.parametrize("share", np.linspace(0.01, 0.999, 10))
def test_a_truncated_file_is_told_by_its_digest(good, refused, share):
    cut = good[MODEL_FILE][: int(share * len(good[MODEL_FILE]))]

    refused({**good, MODEL_FILE: cut}, "altered or half copied")


@pytest.mark.parametrize("share", np.linspace(0.01, 0.999, 10))
def test_a_truncated_file_that_its_manifest_vouches_for_is_not_whole(good, refused, share):
    cut = good[MODEL_FILE][: int(share * len(good[MODEL_FILE]))]

    refused(with_model(good, cut), "not a whole XGBoost model")


def flipped(content, seed):
    """The content with one seeded bit turned."""
    rng = np.random.default_rng(seed)
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_is_told_by_the_digest(good, refused, seed):
    refused({**good, MODEL_FILE: flipped(good[MODEL_FILE], seed)}, "altered or half copied")


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_in_a_manifest_is_told_by_the_signature_if_by_nothing_before(good, refused, seed):
    refused({**good, MANIFEST_FILE: flipped(good[MANIFEST_FILE], seed)}, "manifest|altered", KEYS)


@pytest.mark.parametrize("seed", range(100, 160))
def test_a_flipped_bit_that_the_manifest_vouches_for_is_refused_or_harmless(good, sandbox, in_use, rows, seed):
    golden = np.array([row.features for row in in_use[0].manifest.golden_rows], np.float32)
    try:
        model = artifact.from_files(
            with_model(good, flipped(good[MODEL_FILE], seed)), "s3://models/cards/7", sandbox=sandbox
        )
    except BadModelError:
        return

    assert model.score(golden) == pytest.approx(in_use[0].score(golden), abs=1e-6)
    assert np.isfinite(model.score(rows)).all()


@pytest.fixture
def directory(good, tmp_path):
    """A directory with the model, for a test to damage."""
    path = tmp_path / "cards"
    path.mkdir()
    for name, content in good.items():
        (path / name).write_bytes(content)
    return path


def in_place_of(name, make):
    def apply(path):
        (path / name).unlink()
        make(path / name)

    return apply


def sparse(size):
    def make(path):
        with path.open("wb") as file:
            file.truncate(size)

    return make


DIRECTORIES = {
    "model is missing": (lambda path: (path / MODEL_FILE).unlink(), r"model\.ubj cannot be read"),
    "manifest is missing": (lambda path: (path / MANIFEST_FILE).unlink(), r"manifest\.json cannot be read"),
    "model is a terabyte": (in_place_of(MODEL_FILE, sparse(2**40)), r"model\.ubj is larger than it may be"),
    "manifest is a terabyte": (in_place_of(MANIFEST_FILE, sparse(2**40)), r"manifest\.json is larger than it may be"),
    "signature is a terabyte": (in_place_of(SIGNATURE_FILE, sparse(2**40)), r"manifest\.sig is larger than it may be"),
    "model is a pipe": (in_place_of(MODEL_FILE, os.mkfifo), r"model\.ubj is not a file"),
    "model is endless": (in_place_of(MODEL_FILE, lambda path: path.symlink_to("/dev/zero")), "is not a file"),
    "model is a directory": (in_place_of(MODEL_FILE, lambda path: path.mkdir()), "is not a file|Is a directory"),
    "model is a link to itself": (in_place_of(MODEL_FILE, lambda path: path.symlink_to(path)), "cannot be read"),
    "model is a link to another file": (
        in_place_of(MODEL_FILE, lambda path: path.symlink_to("/etc/passwd")),
        "larger than it may be|altered",
    ),
}


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_directory_with_something_else_in_the_place_of_a_file_is_refused(directory, load, name):
    damage, reason = DIRECTORIES[name]
    damage(directory)

    with pytest.raises(BadModelError, match=reason):
        load(directory)


def test_a_package_in_the_place_of_a_directory_is_refused_by_what_it_is(load, tmp_path):
    (tmp_path / "model.tar.gz").write_bytes(gzip.compress(tar("../../model.ubj")))

    with pytest.raises(BadModelError, match=r"is a gzip archive.*; give the directory of a model"):
        load(tmp_path / "model.tar.gz")


def test_files_larger_together_than_a_model_may_be_are_refused_unread(good, refused):
    refused({**good, MODEL_FILE: bytes(artifact.MAX_BYTES)}, "larger than a model may be")


@pytest.mark.parametrize("signature", [None, b"", bytes(64), b"x" * 64, SECRET.sign(b"another manifest")])
def test_with_a_key_an_unsigned_or_wrongly_signed_model_is_refused(good, refused, signature):
    unsigned = {name: content for name, content in good.items() if name != SIGNATURE_FILE}

    refused(unsigned if signature is None else {**good, SIGNATURE_FILE: signature}, "not signed|was not made for", KEYS)


def test_a_model_signed_by_a_key_that_is_not_trusted_is_refused(good, refused):
    refused(good, "was not made for this manifest by any of model_public_keys", KEYS[:1])


NONSENSE = {
    "child far outside": nodes("left_children", set_at(0, 2**30)),
    "cycles": both(*(nodes(side, lambda array: array.fill(0)) for side in ("left_children", "right_children"))),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_trees_that_would_crash_xgboost_are_refused_on_trial_too(good, sandbox, name):
    with pytest.raises(BadModelError, match="cards/7 was refused on trial: "):
        sandbox.check(forged(good, NONSENSE[name]), "cards/7")

    sandbox.check(good, "cards/6")


def test_a_model_that_crashes_the_interpreter_ends_its_trial_alone(good, sandbox):
    too_deep = b"{L" + (1).to_bytes(8) + b"x" + b"[" * 5_000_000  # XGBoost's parser calls itself for each bracket
    with pytest.raises(BadModelError, match=r"cards/7 was refused on trial: it crashed its process \(SIG"):
        sandbox.check(with_model(good, too_deep), "cards/7")

    sandbox.check(good, "cards/6")


def test_a_model_that_takes_too_long_is_refused_on_trial(good):
    with Sandbox(seconds=0.001) as sandbox, pytest.raises(BadModelError, match=r"it took longer than 0\.001 s"):
        sandbox.check(good, "cards/7")


def test_a_model_that_takes_too_much_memory_is_refused_on_trial(good):
    with Sandbox(memory=2**20) as sandbox, pytest.raises(BadModelError, match="more memory than a model may"):
        sandbox.check(forged(good, lambda document: document.update(x="y" * 10**7)), "cards/7")


def test_a_trial_has_none_of_the_secrets_of_this_process(good, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")

    with Sandbox() as sandbox:
        sandbox.check(good, "cards/7")  # it has begun: its environment is its own
        environment = Path(f"/proc/{sandbox._process.pid}/environ")

        assert b"OMP_NUM_THREADS" in environment.read_bytes()
        assert b"hidden" not in environment.read_bytes()


def test_a_sandbox_that_is_gone_is_told_from_a_bad_model(good):
    sandbox = Sandbox()
    sandbox.close()

    with pytest.raises(FraudstreamError, match="could not be tried") as failure:
        sandbox.check(good, "cards/7")
    assert not isinstance(failure.value, BadModelError)


NO_PICKLE = """
import pickle, sys
def spring(*_, **__): raise SystemExit("a pickle was opened")
sys.modules["joblib"] = sys.modules["cloudpickle"] = sys.modules["dill"] = None
sys.addaudithook(lambda event, _: event == "pickle.find_class" and spring())
from pathlib import Path
from models import artifact, trial
from schemas.errors import BadModelError
pickle.load = pickle.loads = pickle.Unpickler = pickle._Unpickler = spring
class Here:  # the trial without its process
    def check(self, files, source):
        reason = trial.examine(files)
        if reason: raise BadModelError(reason)
for path in sys.argv[1:]:
    try:
        artifact.load(Path(path), sandbox=Here())
        print("loaded")
    except BadModelError:
        print("refused")
"""


def test_nothing_on_the_way_to_a_model_can_open_a_pickle(good, directory, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    for name, content in with_model(good, pickle.dumps(Trap())).items():
        (bad / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", NO_PICKLE, directory, bad], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.stdout.split() == ["loaded", "refused"], done.stderr
    assert not (tmp_path / "sprung").exists()
