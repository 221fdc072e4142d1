"""Files that are whole or absent, whatever interrupts their writing."""

import errno
import fcntl
import os
import pickle
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from di2pose_lib.base import files


class Interrupted(Exception):
    """Stands for a kill in the middle of a write."""


class RunsCode:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_torn_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(Interrupted), files.atomic_file(path) as temporary:
        temporary.write_text("half")
        raise Interrupted
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with files.atomic_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent  # else the rename would be a copy
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


WRITER = """
import sys

from di2pose_lib.base import files

with files.atomic_file(sys.argv[1]) as temporary:
    temporary.write_text("from another process")
    print(temporary.name, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def begin_to_write():
    """`begin_to_write(path)`: (process, name of its temporary) of a writer in mid-write."""
    processes = []

    def begin(path):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, process.stdout.readline().strip()

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def test_what_a_killed_writer_left_of_a_file_goes_with_the_next_write(tmp_path, begin_to_write):
    process, temporary = begin_to_write(tmp_path / "a.txt")
    others = [".a.txt.notes", ".a.txt.unfinished", ".a.txt.abcd.txt", "a.txt.abcdef01", ".b.txt"]
    for other in others:
        (tmp_path / other).write_text("kept")
    process.kill()
    process.wait()
    assert names(tmp_path) == sorted([*others, temporary])
    files.write_text(tmp_path / "b.txt", "another file")
    files.write_text(tmp_path / "a", "a shorter name")
    assert temporary in names(tmp_path)
    files.write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == sorted([*others, "a", "a.txt", "b.txt"])


def test_a_writer_at_work_in_another_process_is_not_disturbed(tmp_path, begin_to_write):
    path = tmp_path / "a.txt"
    process, temporary = begin_to_write(path)
    files.write_text(path, "first")
    assert names(tmp_path) == sorted([temporary, "a.txt"])
    assert path.read_text() == "first"
    process.communicate("go on\n")
    assert process.returncode == 0
    assert path.read_text() == "from another process"
    assert names(tmp_path) == ["a.txt"]


def test_a_temporary_taken_before_its_lock_is_made_anew(tmp_path, monkeypatch):
    opened, taken = os.open, []

    def taken_once(name, flags, *mode):
        descriptor = opened(name, flags, *mode)
        if flags & os.O_EXCL and not taken:
            taken.append(name)
            os.unlink(name)
        return descriptor

    monkeypatch.setattr(os, "open", taken_once)
    path = tmp_path / "a.txt"
    with files.atomic_file(path) as temporary:
        temporary.write_text("whole")
        files.write_text(path, "another writer's")
        assert taken and temporary.exists()
    assert path.read_text() == "whole"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "data"
    with files.atomic_folder(path) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "one").write_text("1")
        assert not path.exists()
    with pytest.raises(Interrupted), files.atomic_folder(path) as temporary:
        (temporary / "two").write_text("2")
        raise Interrupted
    assert names(tmp_path) == ["data"]
    assert (path / "deep" / "one").read_text() == "1"
    with files.atomic_folder(path) as temporary:
        (temporary / "three").write_text("3")
    assert names(path) == ["three"]


def test_what_a_killed_run_left_of_a_folder_is_not_used(tmp_path):
    unfinished = tmp_path / ".data.unfinished"
    unfinished.mkdir()
    (unfinished / "stale").write_text("")
    with files.atomic_folder(tmp_path / "data") as temporary:
        (temporary / "fresh").write_text("")
    assert names(tmp_path / "data") == ["fresh"]
    assert names(tmp_path) == ["data"]


def test_json_comes_back_as_it_was_and_refuses_nan(tmp_path):
    value = {"a": [1, 2.5, None, "ä"], "b": {"c": True}}
    files.write_json(tmp_path / "v.json", value)
    assert files.read_json(tmp_path / "v.json") == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "v.json", {"loss": float("nan")})
    assert files.read_json(tmp_path / "v.json") == value


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe", b"a: 1"])
def test_a_file_that_is_no_json_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="bad.json must hold JSON; got"):
        files.read_json(path)


def test_missing_files_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="none.json does not exist"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(ValueError, match="none.pt does not exist"):
        files.load_tensors(tmp_path / "none.pt")


def test_folders_are_no_files_and_refused_by_name(tmp_path):
    for read in (files.read_json, files.load_tensors):
        with pytest.raises(ValueError, match=f"^{tmp_path} must be a file; got a folder$"):
            read(tmp_path)


def test_tensors_come_back_bit_for_bit(tmp_path):
    value = {"step": 3, "w": torch.randn(5, 2), "rows": [torch.arange(3), None, "name", 0.1]}
    files.save_tensors(tmp_path / "v.pt", value)
    back = files.load_tensors(tmp_path / "v.pt")
    assert torch.equal(back["w"], value["w"])
    assert torch.equal(back["rows"][0], value["rows"][0])
    assert back["rows"][1:] == value["rows"][1:]
    assert back["step"] == 3


def test_equal_tensors_make_equal_bytes_whatever_the_file_is_called(tmp_path):
    for name in ("a.pt", "b.pt"):
        files.save_tensors(tmp_path / name, {"w": torch.arange(4.0)})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    victim = tmp_path / "made-by-the-pickle"
    torch.save({"w": RunsCode(victim)}, tmp_path / "evil.pt")
    with pytest.raises(
        ValueError, match="evil.pt must hold tensors saved by this library; got a damaged "
    ):
        files.load_tensors(tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(RunsCode(victim), protocol=2))
    with pytest.raises(ValueError, match="plain.pt must hold tensors saved by this library"):
        files.load_tensors(tmp_path / "plain.pt")
    assert not victim.exists()


@pytest.mark.parametrize("kept", [0, 10, 400])
def test_a_truncated_checkpoint_is_refused(tmp_path, kept):
    path = tmp_path / "v.pt"
    files.save_tensors(path, {"w": torch.randn(100)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match="v.pt must hold tensors saved by this library; got a damaged "
    ):
        files.load_tensors(path)


def test_a_damaged_checkpoint_is_refused_in_a_sentence_that_says_what_to_do(tmp_path):
    path = tmp_path / "v.pt"
    files.save_tensors(path, {"w": torch.randn(100)})
    for content in (b"", b".", b"hello\nworld", path.read_bytes()[:10], path.read_bytes()[:400]):
        path.write_bytes(content)
        with pytest.raises(ValueError) as refusal:
            files.load_tensors(path)
        text = str(refusal.value)
        assert text.startswith(f"{path} must hold tensors saved by this library; got ")
        assert text.endswith("): remove it to start anew")
        assert "\n" not in text and ". " not in text


def test_a_fingerprint_depends_on_the_values_and_not_on_the_order_of_keys():
    value = {"a": 1, "b": [1.5, "x"]}
    assert files.fingerprint(value) == files.fingerprint({"b": [1.5, "x"], "a": 1})
    others = [{"a": 2, "b": [1.5, "x"]}, {"a": 1, "b": ["x", 1.5]}, {"a": 1}]
    assert len({files.fingerprint(other) for other in [value, *others]}) == 4
    assert files.fingerprint({}) == "44136fa355b3678a"  # sha256 of "{}": same on every machine


def test_a_digest_is_the_sha256_of_the_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.file_digest(tmp_path / "f") == wanted


def one_more(folder, monkeypatch):
    """(a thread that wants the folder's lock, whether it has said so, what was said and done)."""
    said, order = threading.Event(), []
    monkeypatch.setattr(files, "note", lambda message: (order.append(message), said.set()))

    def second():
        with files.locked(folder):
            order.append("second")

    return threading.Thread(target=second), said, order


def test_a_locked_folder_makes_the_next_one_wait_and_say_so(tmp_path, monkeypatch):
    waiting, said, order = one_more(tmp_path / "work", monkeypatch)
    with files.locked(tmp_path / "work"):
        waiting.start()
        assert said.wait(timeout=60)
        waiting.join(timeout=0.2)
        assert waiting.is_alive()
        order.append("first is done")
    waiting.join(timeout=60)
    assert order[1:] == ["first is done", "second"]
    assert order[0].startswith("another process is at work in ")


def test_a_lock_ends_with_its_block(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "note", lambda message: pytest.fail(message))
    for _ in range(2):
        with pytest.raises(Interrupted), files.locked(tmp_path):
            raise Interrupted


# What file systems refuse (Lustre, NFS, vboxsf, CIFS), each as some of them do.
REFUSALS = [getattr(errno, name) for name in ("ENOTSUP", "ENOLCK", "EINVAL", "EPERM", "ENOSYS")]


def refuse(code):
    """A stand-in for a system call that a file system does not have."""

    def refused(*_, **__):
        raise OSError(code, os.strerror(code))

    return refused


@pytest.fixture(params=REFUSALS, ids=errno.errorcode.get)
def poor_file_system(request, monkeypatch):
    """No locks, and no flushing of folders."""
    flush, refused = os.fsync, refuse(request.param)

    def flush_files(descriptor):
        (refused if stat.S_ISDIR(os.fstat(descriptor).st_mode) else flush)(descriptor)

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(os, "fsync", flush_files)


def test_a_file_system_need_not_lock_nor_flush_folders(tmp_path, poor_file_system):
    for text in ("old", "new"):
        files.write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text() == text
        with files.atomic_folder(tmp_path / "data") as temporary:
            (temporary / text).write_text("1")
        assert names(tmp_path / "data") == [text]
        with files.locked(tmp_path / "work"):
            pass
    assert names(tmp_path) == ["a.txt", "data", "work"]


@pytest.fixture
def without_locks(monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))


def test_without_locks_an_old_temporary_goes_and_a_fresh_one_stays(tmp_path, without_locks):
    old, fresh = tmp_path / ".a.txt.abcdef01", tmp_path / ".a.txt.23456789"
    for temporary in (old, fresh):
        temporary.write_text("half")
    os.utime(old, (fresh.stat().st_mtime - 2 * files.ABANDONED,) * 2)
    files.write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == [fresh.name, "a.txt"]


def check_refused(path, write, reason):
    """`write(path)` is refused in a sentence with the file and the reason; the old one stays."""
    files.write_text(path, "old")
    with pytest.raises(ValueError) as refusal:
        write(path)
    assert str(refusal.value) == (
        f"{path} could not be written, and what stood there stays; got {reason}"
    )
    assert path.read_text() == "old"
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_that_does_not_reach_the_disk_is_refused(tmp_path, monkeypatch, call):
    def write(path):
        monkeypatch.setattr(os, call, refuse(errno.EIO))
        files.write_text(path, "new")

    check_refused(tmp_path / "a.txt", write, "Input/output error")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch, code):
    def write(path):
        monkeypatch.setattr(os, "open", refuse(code))
        files.write_text(path, "new")

    check_refused(tmp_path / "a.txt", write, os.strerror(code))


def test_a_file_that_may_not_be_read_does_not_count_as_one_without_locks(tmp_path, monkeypatch):
    def write(path):
        monkeypatch.setattr(fcntl, "flock", refuse(errno.EACCES))
        files.write_text(path, "new")

    check_refused(tmp_path / "a.txt", write, "Permission denied")


@pytest.fixture
def full_disk():
    """No file may grow beyond a kilobyte."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_text(path, "new" * 1000),
        lambda path: files.save_tensors(path, {"w": torch.zeros(5000)}),
        lambda path: files.save_tensors(path, {"w": torch.zeros(10)}),
    ],
    ids=["text", "tensors", "few tensors"],
)
def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path, full_disk, write):
    def write_on_a_full_disk(path):
        full_disk()
        write(path)

    check_refused(tmp_path / "a.txt", write_on_a_full_disk, "File too large")


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_files_mode_follows_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "a.txt", "")
        assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_between_two_folders_loses_neither(tmp_path, monkeypatch, call, after):
    path, rename, calls = tmp_path / "data", os.replace, []
    with files.atomic_folder(path) as temporary:
        (temporary / "old").write_text("")

    def killed(source, target):
        calls.append(source)
        if len(calls) < call or after:
            rename(source, target)
        if len(calls) == call:
            raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(os, "replace", killed)
        with files.atomic_folder(path) as temporary:
            (temporary / "new").write_text("")
    # The next run begins, and is killed before it has anything.
    with pytest.raises(Interrupted), files.atomic_folder(path):
        raise Interrupted
    assert names(path) == ["new" if (call, after) == (2, True) else "old"]
    with files.atomic_folder(path) as temporary:
        (temporary / "newest").write_text("")
    assert names(path) == ["newest"] and names(tmp_path) == ["data"]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path, monkeypatch):
    path, rename = tmp_path / "data", os.replace
    with files.atomic_folder(path) as temporary:
        (temporary / "old").write_text("")

    def refuse_the_new(source, target):
        (refuse(errno.EIO) if "unfinished" in str(source) else rename)(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_new)
    told = pytest.raises(ValueError, match="data could not be written, .*; got Input/output error$")
    with told, files.atomic_folder(path) as temporary:
        (temporary / "new").write_text("")
    assert names(path) == ["old"] and names(tmp_path) == ["data"]


def test_a_file_in_a_folders_place_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "data").write_text("mine")
    told = pytest.raises(ValueError, match="data must be a folder; got a file$")
    with told, files.atomic_folder(tmp_path / "data"):
        pytest.fail("began")
    assert (tmp_path / "data").read_text() == "mine"


HOLDER = """
import fcntl, sys

from di2pose_lib.base import files

def refuse(*_):
    raise OSError(95, "Operation not supported")

fcntl.flock = refuse
with files.locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path, without_locks):
    """A process that holds the folder `work` of a file system without locks."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "work")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("exchange", [True, False], ids=["names exchanged", "not"])
def test_without_locks_one_waits_for_the_living_and_not_for_the_killed(
    tmp_path, monkeypatch, holder, exchange
):
    if not exchange:  # as on NFS, where filelock leaves a killed process's file
        monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False)
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    waiting, said, order = one_more(tmp_path / "work", monkeypatch)
    waiting.start()
    assert said.wait(timeout=60)
    waiting.join(timeout=0.3)
    assert waiting.is_alive() and len(order) == 1
    assert order[0].endswith(f"if it was on another machine, remove {tmp_path}/work/lock.held")
    holder.kill()
    holder.wait()
    waiting.join(timeout=60)
    assert order[1:] == ["second"]
    assert "lock.held" not in names(tmp_path / "work")


def test_without_locks_another_machine_is_waited_for(tmp_path, monkeypatch, without_locks):
    mark = tmp_path / "work" / "lock.held"
    mark.parent.mkdir()
    mark.write_text(f"{2**22 + 1}\nanother-machine\n")  # no process here has this number
    monkeypatch.setattr(files, "PATIENCE", 0.05)

    def note(message):
        assert str(mark) in message
        mark.unlink()  # as its reader would

    monkeypatch.setattr(files, "note", note)
    with files.locked(tmp_path / "work"):
        assert mark.read_text().split()[0] == str(os.getpid())


def test_a_folder_that_cannot_be_locked_at_all_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "work" / "lock").mkdir(parents=True)
    told = pytest.raises(
        ValueError, match="work/lock could not be written, .*; got Is a directory$"
    )
    with told, files.locked(tmp_path / "work"):
        pytest.fail("held")


def test_what_is_there_is_told_from_what_is_missing(tmp_path):
    (tmp_path / "file").write_text("")
    assert files.is_there(tmp_path / "file") and files.is_there(tmp_path, folder=True)
    for missing in (tmp_path / "none", tmp_path / "none" / "deep" / "a"):
        assert not files.is_there(missing) and not files.is_there(missing, folder=True)


def test_what_is_there_and_cannot_be_read_is_not_missing(tmp_path, monkeypatch):
    file, broken, loop = (tmp_path / name for name in ("file", "broken", "loop"))
    file.write_text("")
    broken.symlink_to(tmp_path / "nowhere")
    loop.symlink_to(loop)
    os.mkfifo(tmp_path / "pipe")
    refusals = {
        tmp_path: f"{tmp_path} must be a file; got a folder",
        tmp_path / "pipe": "pipe must be a file; got a device",
        broken: f"broken must be a file; got a link to nowhere at {broken}",
        broken / "deep" / "a": f"a must be a file; got a link to nowhere at {broken}",
        file / "a": "file/a must be readable; got Not a directory",
        loop: "loop must be readable; got Too many levels of symbolic links",
        tmp_path / ("x" * 300): "must be readable; got File name too long",
    }
    for path, told in refusals.items():
        for ask in (files.is_there, files.read_json, files.load_tensors, files.file_digest):
            with pytest.raises(ValueError, match=f"{told}$"):
                ask(path)
    with pytest.raises(ValueError, match="file must be a folder; got a file$"):
        files.is_there(file, folder=True)
    # Who runs the tests may be allowed to read everything.
    monkeypatch.setattr("builtins.open", refuse(errno.EACCES))
    monkeypatch.setattr(os, "scandir", refuse(errno.EACCES))
    for ask in (files.is_there, files.read_json, files.load_tensors, files.file_digest):
        with pytest.raises(ValueError, match="file must be readable; got Permission denied$"):
            ask(file)
    with pytest.raises(ValueError, match="must be readable; got Permission denied$"):
        files.is_there(tmp_path, folder=True)


# Who asks the file system itself, and why that is right there.
ASKS = {
    "image_encoder": {"is_dir"},  # of what a folder lists: all but folders count
    "files": {"exists", "is_dir", "is_symlink", "lexists"},
    "config_file": {"isdir"},  # refuses
    "machine": {"is_file"},  # /proc/cpuinfo: a name of less use will do
    "mocap_index": {"isdir", "isfile"},  # refuses
    "sources": {"isdir"},  # refuses
    "surroundings": {"is_dir"},  # of a checkout
    "table": {"glob"},  # a block that cannot be read is refused when it is opened
}
QUESTIONS = ("exists", "lexists", "is_file", "is_dir", "is_symlink", "isfile", "isdir", "glob")


def test_only_is_there_tells_what_is_missing():
    """`Path.is_file` calls missing what is a folder, a broken link, or behind a file."""
    for path in sorted(Path(files.__file__).parents[1].rglob("*.py")):
        if path.stem in ("project", "run_notebook"):
            continue
        source = path.read_text(encoding="utf-8")
        asked = set(re.findall(rf"\b({'|'.join(QUESTIONS)})\(", source))
        assert asked <= ASKS.get(path.stem, set()), path.name
