"""The checkout itself: the same files everywhere, with git, without it, or inside another's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from working_tree import is_clone

ROOT = Path(__file__).resolve().parents[1]


def git(*arguments, folder=ROOT):
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def tracked():
    """{name: (mode, digest)} of what git tracks here."""
    if not is_clone():
        pytest.skip("no clone: nothing is tracked")
    lines = (line.split("\t") for line in git("ls-files", "-z", "--stage").split("\0") if line)
    return {name: tuple(what.split()[:2]) for what, name in lines}


def test_there_is_no_symbolic_link_which_not_every_clone_can_hold(tracked):
    assert {mode for mode, _ in tracked.values()} <= {"100644", "100755"}


def test_no_two_names_differ_in_case_alone(tracked):
    assert len({name.lower() for name in tracked}) == len(tracked)


@pytest.mark.parametrize("ends", ["true", "input"])
def test_a_clone_has_the_same_bytes_however_git_treats_line_ends(tracked, tmp_path, ends):
    settings = ["-c", f"core.autocrlf={ends}", "-c", "core.eol=crlf", "-c", "core.symlinks=false"]
    git(*settings, "clone", "--quiet", "--local", str(ROOT), str(tmp_path / "clone"))
    clone = tmp_path / "clone"
    committed = dict(
        reversed(line.split(" ", 2)[2].split("\t"))
        for line in git("ls-tree", "-r", "-z", "HEAD", folder=clone).split("\0")
        if line
    )
    assert len(committed) > 400
    found = git("hash-object", "--no-filters", *committed, folder=clone).split()
    assert dict(zip(committed, found, strict=True)) == committed


def test_continuous_integration_runs_make_in_the_checkout(tmp_path):
    copy, decoy, programs = (tmp_path / name for name in ("copy", "decoy", "programs"))
    for folder in (copy / ".ci", decoy / ".ci", programs):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", copy / ".ci" / "run")
    (programs / "make").write_text('#!/bin/sh\necho "$PWD: make $*"\n')
    (programs / "make").chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    printed = subprocess.check_output(
        [".ci/run"], cwd=copy, env={"PATH": path, "CDPATH": str(decoy)}, text=True
    )
    assert printed == f"{copy}: make site-tools\n{copy}: make test\n"


@pytest.mark.parametrize("around", ["nothing", "another repository"])
def test_dvc_runs_without_git_and_inside_a_repository_that_ignores_the_copy(tmp_path, around):
    """By what the Makefile says to DVC there; it refuses to run without."""
    copy = tmp_path / "copy"
    (copy / ".dvc").mkdir(parents=True)
    shutil.copy(ROOT / ".dvc" / "config", copy / ".dvc")
    stage = "stages: {one: {cmd: echo 1 > out, outs: [out]}}\n"
    (copy / "dvc.yaml").write_text(stage)
    if around != "nothing":
        git("init", "--quiet", folder=tmp_path)
        (tmp_path / ".gitignore").write_text("*\n")

    def dvc(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=copy,
            env={**os.environ, "DVC_NO_ANALYTICS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    if around == "nothing":
        set_up = dvc("config", "--local", "core.no_scm", "true")
        assert set_up.returncode == 0, set_up.stdout
    else:
        refused = dvc("repro")
        assert refused.returncode and "git-ignored" in refused.stdout
        (copy / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    done = dvc("repro")
    assert done.returncode == 0, done.stdout
    assert (copy / "out").read_text() == "1\n" and (copy / "dvc.lock").is_file()
