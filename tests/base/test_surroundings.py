"""Whose library runs, whether assertions count, and what a program may print."""

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest

from di2pose_lib.base import surroundings
from di2pose_lib.data import source_record
from studies import ablation_runs, ledger, protocol_runs, reproduction

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    ablation_runs: lambda: ablation_runs.main(["--plan"]),
    ledger: ledger.main,
    protocol_runs: lambda: protocol_runs.main(["--plan"]),
    reproduction: lambda: reproduction.main([]),
    source_record: lambda: source_record.main(["params.yaml"]),
}


@pytest.fixture
def other(tmp_path):
    """Another checkout, with a library of its own."""
    for name in ("notebooks", "di2pose_lib"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_the_library_of_its_own_checkout_is_welcome_by_whatever_path(tmp_path):
    surroundings.check(ROOT)
    (tmp_path / "link").symlink_to(ROOT)
    surroundings.check(tmp_path / "link")
    (tmp_path / "di2pose_lib").symlink_to(ROOT / "di2pose_lib")
    surroundings.check(tmp_path)


def test_a_folder_of_notebooks_without_a_library_takes_the_installed_one(tmp_path):
    surroundings.check(tmp_path)


def test_another_checkouts_library_is_refused_and_both_folders_are_named(other):
    with pytest.raises(ValueError) as refusal:
        surroundings.check(other)
    text, library = str(refusal.value), surroundings.LIBRARY
    assert f"its own library, {other / 'di2pose_lib'}; got the one in {library}" in text
    assert text.endswith(f": unset PYTHONPATH and run `make install` in {other}")


def test_a_python_that_passes_over_assertions_is_refused(monkeypatch):
    with monkeypatch.context() as optimised:
        optimised.setattr(sys, "flags", SimpleNamespace(optimize=1))
        with pytest.raises(ValueError, match="unset PYTHONOPTIMIZE and leave out -O"):
            surroundings.check(ROOT)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda module: module.__name__.split(".")[-1])
def test_no_program_works_in_another_checkout(other, monkeypatch, capsys, program):
    (other / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(other)
    assert PROGRAMS[program]() == 1
    assert "must be run with its own library" in capsys.readouterr().err


def test_no_test_tests_another_checkouts_library(other):
    with pytest.raises(pytest.UsageError, match="must be run with its own library"):
        conftest.pytest_configure(SimpleNamespace(rootpath=other))


def test_any_sign_can_be_printed_in_any_locale(monkeypatch):
    streams = {name: io.TextIOWrapper(io.BytesIO(), "latin-1") for name in ("stdout", "stderr")}
    with monkeypatch.context() as old:
        for name, stream in streams.items():
            old.setattr(sys, name, stream)
        surroundings.write_utf8()
        for stream in streams.values():
            print("−\udcff", file=stream, flush=True)
    for stream in streams.values():
        assert stream.buffer.getvalue().decode("utf-8") == "−\\udcff\n"


def test_every_program_prints_utf8():
    paths = [*ROOT.glob("di2pose_lib/**/*.py"), *ROOT.glob("studies/*.py")]
    sources = {path.stem: path.read_text("utf-8") for path in paths}
    programs = {name: text for name, text in sources.items() if "__main__" in text}
    wanted = {module.__name__.split(".")[-1] for module in PROGRAMS} | {"run_notebook", "kernel"}
    assert set(programs) == wanted
    for name in wanted - {"kernel"}:  # it prints by messages
        assert re.search(r'"__main__":\n +surroundings.write_utf8\(\)', programs[name]), name
