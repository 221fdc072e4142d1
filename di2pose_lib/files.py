"""Files that are whole or absent: write to a temporary name, fsync, rename; and locks."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import torch

from di2pose_lib.checks import require
from di2pose_lib.progress import note


def _sync(path):
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_stale(path):
    """Remove the temporaries of `path` that killed writers left: nobody holds their locks."""
    name = re.compile(re.escape(f".{path.name}.") + "[a-z0-9_]{8}")  # as mkstemp makes it
    for stale in filter(lambda entry: name.fullmatch(entry.name), list(path.parent.iterdir())):
        # OSError: its writer is at work, has just ended, or is another user's.
        with contextlib.suppress(OSError), open(stale, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stale.unlink()


def _new_temporary(path):
    """(descriptor, path) of an empty file beside `path`, locked as long as it is open."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # taken for a stale one before it was locked


@contextlib.contextmanager
def atomic_file(path):
    """Yield a temporary path beside `path`; on success it replaces `path`, durably.

    What killed writers of the same `path` left behind is removed. Writers that live do
    not disturb each other: the last one's file stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    descriptor, temporary = _new_temporary(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def atomic_folder(path):
    """Yield a temporary folder beside `path`; on success it becomes `path`.

    A folder already at `path` is replaced; one that an interrupted run left behind
    under a temporary name is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.unfinished"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for entry in [*temporary.rglob("*"), temporary]:
            _sync(entry)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(folder):
    """Hold `folder` for this process; waits while another holds it.

    The kernel of a run that was killed may outlive it and still be at work there. The
    lock ends with its process, however that ends.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"another process is at work in {folder}: waiting for it to end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_text(path, text):
    """Write `text` to `path`, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def _check_file(path):
    require(not Path(path).is_dir(), f"{path} must be a file; got a folder")
    require(Path(path).is_file(), f"{path} does not exist")


def read_json(path):
    """The value in a JSON file.

    Raises:
        ValueError: the file is missing, a folder, or not JSON; one sentence names it.
    """
    _check_file(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must hold JSON; got {error}") from None


def save_tensors(path, value):
    """Save tensors, numbers, strings and containers of them, atomically."""
    # An open file, because torch writes a file's name into it: equal values, equal bytes.
    with atomic_file(path) as temporary, open(temporary, "wb") as handle:
        torch.save(value, handle)


def load_tensors(path):
    """What `save_tensors` wrote; never unpickles anything but plain data.

    Raises:
        ValueError: the file is missing, a folder, damaged, or holds other objects.
    """
    _check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        reason = lines[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"{path} must hold tensors saved by this library; got a damaged file or another kind "
            f"({reason}): remove it to start anew"
        ) from None


def fingerprint(value):
    """A short hash of a JSON-like value, the same on every machine."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path):
    """SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
