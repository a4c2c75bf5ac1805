"""Tell by its first bytes what a file is that is no model, so that nobody is tempted to open it."""

KINDS = {
    b"\x80\x02": "a pickle, which can run any code",
    b"\x80\x03": "a pickle, which can run any code",
    b"\x80\x04": "a pickle, which can run any code",
    b"\x80\x05": "a pickle, which can run any code",
    b"\x1f\x8b": "a gzip archive, which can unpack to any size",
    b"x\x01": "compressed by zlib, as joblib does",
    b"x\x9c": "compressed by zlib, as joblib does",
    b"x\xda": "compressed by zlib, as joblib does",
    b"ZF": "a file of joblib, which can run any code",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"\x04\x22\x4d\x18": "an LZ4 archive",
    b"PK": "a zip archive",
    b"\x89HDF": "an HDF5 file",
    b"binf": "a model in XGBoost's old binary format",
}

TAR_MAGIC = slice(257, 262)


def refusal(head: bytes) -> str | None:
    """What a file that begins with ``head`` (262 bytes or more, or all of it) is, unless it may be a UBJ model."""
    if not head:
        return "empty"
    if head[TAR_MAGIC] == b"ustar":
        return "a tar archive, which can write anywhere"
    if head.startswith((b'{"', b"{ ", b"{\n", b"{\r", b"{\t")):
        return "JSON: save the model with the ending .ubj"
    if head.startswith(b"{"):
        return None
    kinds = (kind for magic, kind in KINDS.items() if head.startswith(magic))
    return next(kinds, "of another kind, and other kinds can carry code")
