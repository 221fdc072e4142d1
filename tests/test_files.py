"""Files that are whole or absent, whatever interrupts their writing."""

import os
import pickle
import subprocess
import sys
import threading

import pytest
import torch

from di2pose_lib import files


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

from di2pose_lib import files

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
    others = [".a.txt.notes", ".a.txt.unfinished", ".a.txt.abcd.txt", "a.txt.abcdefgh", ".b.txt"]
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
    made, taken = files.tempfile.mkstemp, []

    def taken_once(**options):
        descriptor, name = made(**options)
        if not taken:
            taken.append(name)
            os.unlink(name)
        return descriptor, name

    monkeypatch.setattr(files.tempfile, "mkstemp", taken_once)
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


def test_a_locked_folder_makes_the_next_one_wait_and_say_so(tmp_path, monkeypatch):
    said, order = threading.Event(), []
    monkeypatch.setattr(files, "note", lambda message: (order.append(message), said.set()))

    def second():
        with files.locked(tmp_path / "work"):
            order.append("second")

    waiting = threading.Thread(target=second)
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
