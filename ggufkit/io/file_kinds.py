"""What a file is, by its first bytes, where it is not what its name says."""

from __future__ import annotations

# Bytes that a kind can be told from.
HEAD_BYTES = 64

_KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run 'git lfs pull'"),
    (b"\x1f\x8b", "compressed by gzip: decompress it first"),
    (b"BZh", "compressed by bzip2: decompress it first"),
    (b"\xfd7zXZ", "compressed by xz: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: decompress it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"GGUF", "a GGUF file: give it the ending .gguf, and name it instead of the folder"),
    (b"PK\x03\x04", "a ZIP archive: torch's files are such, and are called pytorch_model.bin"),
    (b"\x80\x02", "a pickle of torch before 1.6: load it in a sandbox, save it as safetensors"),
    (b"\x89HDF", "an HDF5 file, of TensorFlow"),
)
_WEB = (b"<!doctype", b"<html", b"<?xml", b"invalid username", b"access to model")


def mistaken_for(head: bytes) -> str:
    """Return what a file is by its first bytes, and what to do; '' for nothing that is known.

    Examples
    --------
    >>> mistaken_for(b"version https://git-lfs.github.com/spec/v1")
    "a Git LFS pointer, not the file itself: run 'git lfs pull'"
    >>> mistaken_for(b"{}")
    ''
    """
    start = head[:HEAD_BYTES]
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(_WEB):
        return "a page of a web server, not the file itself: download it again, logged in"
    return next((what for magic, what in _KINDS if start.startswith(magic)), "")


def or_else(head: bytes, otherwise: str) -> str:
    """Return what a file is, as a sentence for an error, or another sentence."""
    found = mistaken_for(head)
    return f"it is {found}" if found else otherwise
