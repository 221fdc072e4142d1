"""Files that are whole or absent: write to a temporary name, fsync, rename; and locks.

A file system need not offer all of that (NFS, Lustre, CIFS, the shared folders of virtual
machines). What it does not lock, the library filelock locks by a file; a folder that it does
not flush is let be. Data that it does not flush, and a rename that fails, are refused.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

import torch
from filelock import FileLock, SoftFileLock, Timeout

from di2pose_lib.base.checks import require
from di2pose_lib.base.progress import note

ABANDONED = 3600  # s without a change: a temporary whose lock nobody can ask for
PATIENCE = 5.0  # s between two looks at a lock that is a file


@contextlib.contextmanager
def _written(path):
    """Tell what the system refuses in a sentence that names `path`, as a ValueError."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{path} could not be written, and what stood there stays; got "
            f"{error.strerror or error}"
        ) from error


def _sync(path):
    """Flush a file to the disk; a folder, too, where the file system can."""
    with contextlib.suppress(OSError) if Path(path).is_dir() else contextlib.nullcontext():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _flock(descriptor):
    """Whether this process holds the file's lock now; None where nobody can lock.

    A file that may not be read tells nothing of locks: that is the caller's to refuse.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno == errno.EACCES:
            raise
        return None
    return True


def _remove_stale(path, now):
    """Remove the temporaries of `path` that killed writers left: nobody holds their locks."""
    name = re.compile(re.escape(f".{path.name}.") + "[0-9a-f]{8}")
    with contextlib.suppress(OSError):  # a folder that may not be listed
        for stale in filter(lambda entry: name.fullmatch(entry.name), list(path.parent.iterdir())):
            # OSError: its writer has just ended, or it is another user's.
            with contextlib.suppress(OSError), open(stale, "rb") as handle:
                held, age = _flock(handle), now - os.fstat(handle.fileno()).st_mtime
                if held or (held is None and age > ABANDONED):
                    stale.unlink()


def _new_temporary(path):
    """(descriptor, path) of an empty file beside `path`, locked as long as it is open."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileExistsError):  # mkstemp's would be its owner's alone
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                if _flock(descriptor) is not False and os.fstat(descriptor).st_nlink:
                    return descriptor, temporary
            except OSError:
                temporary.unlink()
                os.close(descriptor)
                raise
            os.close(descriptor)  # taken for a stale one before it was locked


@contextlib.contextmanager
def atomic_file(path):
    """Yield a temporary path beside `path`; on success it replaces `path`, durably.

    What killed writers of the same `path` left behind is removed. Writers that live do
    not disturb each other: the last one's file stays.

    Raises:
        ValueError: the system refused to write (a full disk, a folder that is read only);
            what stood at `path` stays.
    """
    path = Path(path)
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = _new_temporary(path)
        try:
            _remove_stale(path, os.fstat(descriptor).st_mtime)
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # data are safe since `_sync`
                os.close(descriptor)


@contextlib.contextmanager
def atomic_folder(path):
    """Yield a temporary folder beside `path`; on success it becomes `path`.

    A folder already at `path` is replaced; one that an interrupted run left behind
    under a temporary name is removed. Killed at any moment, it leaves the old folder or the
    new one: at `path`, or set aside until the next call puts it back.

    Raises:
        ValueError: something else than a folder is at `path`, or the system refused to
            write; what stood at `path` stays.
    """
    path = Path(path)
    temporary, aside = (path.parent / f".{path.name}.{word}" for word in ("unfinished", "old"))
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_there(path, folder=True) and is_there(aside, folder=True):
            os.replace(aside, path)  # a run was killed between the two renames below
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
    try:
        yield temporary
        with _written(path):
            for entry in [*temporary.rglob("*"), temporary]:
                _sync(entry)
            _swap(temporary, path, aside)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new, path, aside):
    """Put a folder in another's place, which is moved aside and then removed."""
    shutil.rmtree(aside, ignore_errors=True)
    old = os.path.lexists(path)
    if old:
        os.replace(path, aside)
    try:
        os.replace(new, path)
    except OSError:
        if old:
            os.replace(aside, path)
        raise
    if old and aside.is_symlink():
        aside.unlink()
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def locked(folder):
    """Hold `folder` for this process; waits while another holds it.

    The kernel of a run that was killed may outlive it and still be at work there. The
    lock ends with its process, however that ends. Where the file system has no locks, a file
    names the process and its machine: once that process has ended, the next one on the same
    machine takes the folder over, and another machine waits until somebody removes the file.

    Raises:
        ValueError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    with _written(folder / "lock"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", fallback_to_soft=False)
        try:
            _wait_for(lock, folder)
        except OSError as error:
            if error.filename is not None:  # the file, not its lock
                raise
            lock = SoftFileLock(folder / "lock.held")
            _wait_for(lock, folder)
    try:
        yield
    finally:
        lock.release()


def _wait_for(lock, folder):
    """Take a lock; say so when it has to wait."""
    soft, timeout = isinstance(lock, SoftFileLock), 0
    while True:
        try:
            return lock.acquire(timeout=timeout)
        except Timeout:
            if soft and _left_behind(lock):
                lock.break_lock()
                if not os.path.lexists(lock.lock_file):
                    continue
        if not timeout:
            elsewhere = f"; if it was on another machine, remove {lock.lock_file}" if soft else ""
            note(f"another process is at work in {folder}: waiting for it to end{elsewhere}")
        timeout = PATIENCE


def _left_behind(lock):
    """Whether a process of this machine made a `SoftFileLock`'s file, and has ended.

    filelock sees to that itself, but only where the file system can exchange two names.
    """

    def owner(path):  # as filelock documents the file
        process, machine, *_ = Path(path).read_text(encoding="utf-8").split()
        return int(process), machine

    with contextlib.suppress(OSError, ValueError):  # gone, or just being written
        with tempfile.TemporaryDirectory() as folder, SoftFileLock(Path(folder) / "lock"):
            _, here = owner(Path(folder) / "lock")
        process, machine = owner(lock.lock_file)
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return machine == here
    return False


def write_text(path, text):
    """Write `text` to `path`, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def is_there(path, folder=False):
    """Whether a file (or a folder) lies at `path`.

    What is there and cannot be read never counts as missing.

    Raises:
        ValueError: something else is there, a link that leads nowhere, or what the system
            does not let us read; one sentence names it.
    """
    path = Path(path)
    wanted = "a folder" if folder else "a file"
    try:
        mode = os.stat(path).st_mode
        kinds = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder"}
        got = kinds.get(stat.S_IFMT(mode), "a device")
        require(got == wanted, f"{path} must be {wanted}; got {got}")
        with os.scandir(path) if folder else open(path, "rb"):
            return True
    except FileNotFoundError:
        nearest = next(entry for entry in (path, *path.parents) if os.path.lexists(entry))
        require(
            os.path.exists(nearest), f"{path} must be {wanted}; got a link to nowhere at {nearest}"
        )
        return False
    except OSError as error:
        raise ValueError(f"{path} must be readable; got {error.strerror}") from None


def check_file(path):
    """Refuse a path without a readable file: ValueError, one sentence names it."""
    require(is_there(path), f"{path} does not exist")


def read_json(path):
    """The value in a JSON file.

    Raises:
        ValueError: the file is missing, a folder, or not JSON; one sentence names it.
    """
    check_file(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must hold JSON; got {error}") from None


def save_tensors(path, value):
    """Save tensors, numbers, strings and containers of them, atomically."""
    # An open file, because torch writes a file's name into it: equal values, equal bytes.
    with atomic_file(path) as temporary, open(temporary, "wb") as handle:
        try:
            torch.save(value, handle)
        except RuntimeError as error:  # torch's own words for a write that failed
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load_tensors(path):
    """What `save_tensors` wrote; never unpickles anything but plain data.

    Raises:
        ValueError: the file is missing, a folder, damaged, or holds other objects.
    """
    check_file(path)
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
    """SHA-256 of a file's bytes, hexadecimal; a ValueError names what cannot be read."""
    check_file(path)
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
