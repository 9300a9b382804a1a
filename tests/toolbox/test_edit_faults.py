"""Edits that are killed at any moment, meet full disks, or each other."""

import os
import random
import signal
import time
import warnings

import pytest

from ggufkit.errors import (
    OutputError,
)
from ggufkit.gguf.reader import GGUFFile
from ggufkit.toolbox.edit import edit
from ggufkit.toolbox.header_journal import HeaderEditor, journal_path
from tests import build
from tests.toolbox.edits import NAME, NOTE, TOKENS, file_bytes

pytestmark = pytest.mark.torture


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(file_bytes(NAME, NOTE, TOKENS))
    return path


def read(path):
    """Return metadata and data of all tensors."""
    with GGUFFile.open(path) as file:
        metadata = {key: file.metadata[key] for key in file.metadata}
        return metadata, {n: file.read_bytes(i) for n, i in file.tensors.items()}


def in_child(work):
    """Run `work` in a fork, which ends by SIGKILL or with code 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of numpy's idle threads
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def kill_at(call):
    """Make the process die at its `call`-th change of a file; a write happens by half."""
    calls = iter(range(1, 1000))

    def dying(function, before=lambda *_: None):
        def replacement(*arguments):
            if next(calls) == call:
                before(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return replacement

    pwrite = os.pwrite
    os.pwrite = dying(pwrite, lambda fd, data, at: pwrite(fd, data[: len(data) // 2], at))
    os.fsync = dying(os.fsync)
    os.unlink = dying(os.unlink)
    os.ftruncate = dying(os.ftruncate)
    os.replace = dying(os.replace)


@pytest.mark.parametrize("name", ["new name", "n" * 900], ids=["in place", "rewritten"])
def test_a_kill_at_every_step_leaves_the_old_or_the_new_file(path, name):
    old = path.read_bytes()
    new = file_bytes(build.pair("general.name", build.STR, name), NOTE, TOKENS)
    outcomes = set()
    for call in range(1, 60):
        path.write_bytes(old)

        def work(call=call):
            kill_at(call)
            edit(path, values={"general.name": name})

        _, status = os.waitpid(in_child(work), 0)
        edit(path)  # finishes what was interrupted
        assert path.read_bytes() in (old, new)
        assert not journal_path(path).exists()
        outcomes.add(path.read_bytes() == new)
        if not os.WIFSIGNALED(status):
            break
    assert call > 4
    assert outcomes == {False, True}


def test_a_kill_during_recovery_is_recovered_from(path):
    old = path.read_bytes()
    new = file_bytes(build.pair("general.name", build.STR, "new name"), NOTE, TOKENS)
    journal = leave_journal(path, {"general.name": "new name"})
    for call in range(1, 60):
        journal_path(path).write_bytes(journal)
        path.write_bytes(old)

        def work(call=call):
            kill_at(call)
            edit(path)

        _, status = os.waitpid(in_child(work), 0)
        if not os.WIFSIGNALED(status):
            break
        edit(path)
        assert path.read_bytes() == new
    assert call > 2


def test_kills_at_random_times(tmp_path):
    path = tmp_path / "m.gguf"
    texts = [letter * 200_000 for letter in "ab"]
    files = [file_bytes(build.pair("tokenizer.chat_template", build.STR, text)) for text in texts]
    path.write_bytes(files[0])

    def work():
        while True:
            for text in reversed(texts):
                edit(path, values={"tokenizer.chat_template": text})

    journals = 0
    for seed in range(60):
        child = in_child(work)
        time.sleep(random.Random(seed).uniform(0.005, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        journals += journal_path(path).exists()
        edit(path)
        assert path.read_bytes() in files
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert journals


def leave_journal(path, values):
    """Return the journal of an edit; the file is left as it is."""
    before = path.read_bytes()
    journals = []
    write_header = HeaderEditor._write_header

    def keep(self, header):
        journals.append(self.journal.read_bytes())
        write_header(self, header)

    HeaderEditor._write_header = keep
    try:
        edit(path, values=values)
    finally:
        HeaderEditor._write_header = write_header
    path.write_bytes(before)
    return journals[0]


def test_a_torn_journal_is_discarded(path):
    before = path.read_bytes()
    journal = leave_journal(path, {"general.name": "new name"})
    flipped = bytearray(journal)
    flipped[40] ^= 1
    for torn in (b"", journal[:20], journal[:-1], bytes(len(journal)), bytes(flipped)):
        journal_path(path).write_bytes(torn)
        edit(path)
        assert path.read_bytes() == before
        assert not journal_path(path).exists()


def test_a_journal_of_another_file_is_never_replayed(path):
    journal = leave_journal(path, {"general.name": "new name"})
    others = [
        file_bytes(build.pair("general.name", build.STR, "other is"), NOTE, TOKENS),
        path.read_bytes() + b"more",
        file_bytes(NAME),
    ]
    for other in others:
        path.write_bytes(other)
        journal_path(path).write_bytes(journal)
        with pytest.raises(OutputError, match="interrupted edit of another file"):
            edit(path, values={"general.name": "x"})
        assert path.read_bytes() == other
        assert journal_path(path).read_bytes() == journal


def test_a_copy_to_another_file_finishes_an_edit_first(path, tmp_path):
    journal = leave_journal(path, {"general.name": "new name"})
    journal_path(path).write_bytes(journal)
    edit(path, out=tmp_path / "out.gguf")
    assert read(tmp_path / "out.gguf")[0]["general.name"] == "new name"


def test_a_dry_run_finishes_no_edit(path):
    journal = leave_journal(path, {"general.name": "new name"})
    journal_path(path).write_bytes(journal)
    with pytest.raises(OutputError, match="interrupted"):
        edit(path, dry_run=True)
    assert journal_path(path).read_bytes() == journal


def test_two_edits_at_once(path):
    with HeaderEditor(path), pytest.raises(OutputError, match="another process"):
        edit(path, values={"general.name": "new name"})


@pytest.mark.parametrize("fail_at", [1, 2, 3])
def test_a_disk_that_fails(path, monkeypatch, fail_at):
    calls = []
    before = path.read_bytes()

    def fsync(fd):
        calls.append(fd)
        if len(calls) == fail_at:
            raise OSError(5, "broken disk")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(OutputError, match="broken disk"):
            edit(path, values={"general.name": "new name"})
    edit(path)
    changed = file_bytes(build.pair("general.name", build.STR, "new name"), NOTE, TOKENS)
    assert path.read_bytes() == (before if fail_at < 3 else changed)


# The command.
