"""Fixtures of more than one test file."""

import subprocess
from pathlib import Path

import pytest
import torch
from working_tree import is_clone

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def committed_files(tmp_path_factory):
    """A folder with every file as git has it, committed or staged; None without a repository.

    `make repro` and `make mocap` write this machine's numbers, and the record of its motion
    capture, over committed ones. They are no fault: what must agree is what is committed.
    """
    if not is_clone():
        return None
    folder = tmp_path_factory.mktemp("committed")
    export = ["git", "checkout-index", "--all", f"--prefix={folder}/"]
    subprocess.run(export, cwd=ROOT, check=True)
    return folder


@pytest.fixture
def committed(committed_files, monkeypatch):
    """The same folder, and the project is the one in it, as far as parameters and results go."""
    if committed_files is None:
        pytest.skip("no git repository: nothing is committed")
    monkeypatch.chdir(committed_files)
    return committed_files


@pytest.fixture
def write(tmp_path):
    """A function that writes a text to a file in the test's folder and returns its path."""

    def put(text, name="01_01.bvh"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


def pytest_configure(config):
    """Refuse to test another checkout's library, and to test without assertions."""
    from di2pose_lib.base import surroundings

    try:
        surroundings.check(config.rootpath)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(items):
    """Files that run the pipeline first: at the end one process would wait for the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def threads():
    """Sets torch's threads; those of before come back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
