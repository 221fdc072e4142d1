"""The Makefile in small copies of the checkout, with a Python that only notes how it is called."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not there")

ROOT = Path(__file__).resolve().parents[1]
NAMED = ("Makefile", "requirements.txt", "pyproject.toml", "dvc.yaml")
ODD = """it's a "$HOME" #1, 50 % & more"""

# A program that notes its calls; `-m venv` makes .venv of it, and a path is expanded in earnest.
NOTES = """
import json, os, shutil, sys
program, *arguments = sys.argv[1:]
if arguments[:1] != ["-I"]:  # whether it works at all: make asks each time
    call = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    with open(os.environ["CALLS"], "a") as handle:
        handle.write(json.dumps(call) + "\\n")
if " ".join(arguments).endswith(os.environ.get("FAILS", "nothing")):
    sys.exit(1)
elif arguments[:2] == ["-m", "venv"] and os.path.basename(program) != "python":
    os.makedirs(os.path.join(arguments[2], "bin"), exist_ok=True)
    shutil.copy(shutil.which(program), os.path.join(arguments[2], "bin", "python"))
elif arguments[:1] == ["-c"] and "expanduser" in arguments[1]:
    exec(arguments[1])
elif arguments == ["--version"]:
    print("Python 3.11.9")
"""


class Call(NamedTuple):
    arguments: list
    folder: str
    environment: dict


class Checkout:
    """What make needs of this one, in a folder; programs of the user beside it."""

    def __init__(self, folder):
        self.folder, self.programs = folder, folder.parent / "programs"
        self.home = folder.parent / "home"
        for name in (*NAMED, "di2pose_lib/__init__.py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (folder / ".dvc").mkdir()
        (folder / ".git").mkdir()
        self.home.mkdir(exist_ok=True)
        self.program("python3.11", NOTES)
        for missing in ("python3.12", "python3"):
            self.program(missing, "sys = __import__('sys'); sys.exit(9)")

    def program(self, name, source):
        """Put a program, written in Python, before all others."""
        self.programs.mkdir(exist_ok=True)
        file = self.programs / f"{name}.source"
        file.write_text(source)
        path = self.programs / name
        python = shlex.join([sys.executable, "-I", "-S", str(file)])
        path.write_text(f'#!/bin/sh\nexec {python} "$0" "$@"\n')
        path.chmod(0o755)

    def make(self, *goals, status=0, folder=None, **environment):
        """Run make; its calls of Python, and what it printed."""
        calls = self.folder.parent / "calls"
        calls.unlink(missing_ok=True)
        usual = {"HOME": str(self.home), "USER": "someone", "CALLS": str(calls)}
        path = os.pathsep.join([str(self.programs), os.environ["PATH"]])
        environment = {**usual, "PATH": path, **environment}
        result = subprocess.run(
            ["make", *goals],
            cwd=folder or self.folder,
            env={name: value for name, value in environment.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert result.returncode == status, result.stdout
        lines = calls.read_text().splitlines() if calls.is_file() else []
        return [Call(**json.loads(line)) for line in lines], result.stdout


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def of(module, calls):
    """The calls of a module, without `-m`."""
    return [call for call in calls if call.arguments[:2] == ["-m", module]]


def only(calls, module="dvc"):
    (call,) = of(module, calls)
    return call


def installations(calls):
    return [call.arguments[2:] for call in of("pip", calls) if "install" in call.arguments]


# --- where it runs


@pytest.mark.parametrize("name", ["checkout", ODD, "dépôt"])
def test_a_pipeline_runs_in_its_own_folder_whatever_the_checkout_is_called(tmp_path, name):
    checkout = Checkout(tmp_path / name)
    decoy = tmp_path / "decoy"
    (decoy / "pipelines").mkdir(parents=True)
    calls, printed = checkout.make("smoke", CDPATH=str(decoy))
    call = only(calls)
    assert call.arguments == ["-m", "dvc", "repro", "--glob", "pipelines/dvc.yaml:*@smoke"]
    assert call.folder == str(checkout.folder)
    first, *_ = call.environment["PATH"].split(os.pathsep)
    assert first == str(checkout.folder / ".venv" / "bin")
    assert str(decoy) not in printed and "CDPATH" not in call.environment


def test_every_pipeline_is_run_from_the_top(checkout):
    goals = ("repro", "mocap", "paper", "ablations", "occlusion", "ledger")
    calls, _ = checkout.make("-C", str(checkout.folder), *goals, folder=checkout.home)
    asked = [call.arguments[-1] for call in of("dvc", calls)]
    wanted = ["repro", "pipelines/dvc.yaml:*@mocap", "pipelines/dvc.yaml:*@paper"]
    ledger = "studies/dvc.yaml:claims"  # after the ledger that they are read from
    studies = ["studies/dvc.yaml:ablations", ledger, ledger]
    assert asked == [*wanted, *studies, ledger]
    assert {call.folder for call in calls} == {str(checkout.folder)}


def test_the_site_is_made_by_its_stage(checkout):
    calls, _ = checkout.make("site")
    assert only(calls).arguments == ["-m", "dvc", "repro", "studies/dvc.yaml:site"]


def test_a_chromium_that_cannot_be_had_is_a_sentence(checkout):
    checkout.program("apt-get", "sys = __import__('sys'); sys.exit(100)")
    for name in ("make", "sh", "sed", "cksum", "cut", "id", "cat"):  # and no Chromium
        (checkout.programs / name).symlink_to(shutil.which(name))
    calls, printed = checkout.make("site-tools", PATH=str(checkout.programs))
    assert not calls and printed.startswith("Chromium cannot be had: the site has no pictures")
    assert len(printed.splitlines()) == 1


def test_a_colon_in_the_path_is_refused_in_one_sentence(tmp_path):
    checkout = Checkout(tmp_path / "a:b")
    calls, printed = checkout.make("repro", status=2)
    assert "the path of the checkout must hold no colon, for PATH cannot carry it; got " in printed
    assert len(printed.splitlines()) == 1
    assert not calls and not (checkout.folder / ".venv").exists()


def test_make_elsewhere_is_refused(checkout):
    makefile = str(checkout.folder / "Makefile")
    calls, printed = checkout.make("-f", makefile, "repro", status=2, folder=checkout.home)
    assert "make must run in the checkout: make -C <folder>" in printed
    assert not calls and not list(checkout.home.iterdir())


def test_two_goals_never_run_at_once(checkout):
    goals = ("smoke", "repro", "ledger")
    calls, _ = checkout.make("-j4", *goals, status=2, FAILS="@smoke")
    assert [call.arguments[-1] for call in of("dvc", calls)] == ["pipelines/dvc.yaml:*@smoke"]


def test_only_printing_runs_nothing(checkout):
    calls, printed = checkout.make("-n", "smoke")
    assert not calls and "dvc repro --glob 'pipelines/dvc.yaml:*@smoke'" in printed
    assert not (checkout.folder / ".venv").exists()


# --- what the user has set for other work

NEUTRAL = {
    **dict.fromkeys(("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE"), "/nowhere"),
    "PYTHONOPTIMIZE": "2",
    "PYTHONIOENCODING": "latin-1",
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "7",
    **dict.fromkeys(("JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"), "/nowhere"),
    **dict.fromkeys(("CDPATH", "ENV", "BASH_ENV", "GIT_DIR", "GIT_WORK_TREE"), "/nowhere"),
    **dict.fromkeys(("PIP_TARGET", "PIP_PREFIX", "PIP_CONSTRAINT", "PIP_REQUIREMENT"), "/nowhere"),
    "DVC_ROOT": "/nowhere",
    "DVC_STAGE": "evaluation",
    "DVC_EXP_BASELINE_REV": "1234",
    **dict.fromkeys(("DI2POSE_STAGE", "DI2POSE_PARAMS_FILE", "DI2POSE_SCRATCH_ONLY"), "1"),
    "MPLBACKEND": "TkAgg",
    "PYTEST_ADDOPTS": "-k nothing",
}
INSTEAD = {
    "PYTHONUTF8": ("0", "1"),
    "PIP_USER": ("1", "0"),
    "JUPYTER_PREFER_ENV_PATH": ("0", "1"),
    "IPYTHONDIR": ("/nowhere", "{checkout}/scratch/ipython"),
    "DVC_GLOBAL_CONFIG_DIR": ("/nowhere", "{checkout}/scratch/no-config"),
    "DVC_SYSTEM_CONFIG_DIR": ("/nowhere", "{checkout}/scratch/no-config"),
    "SHELL": ("/usr/sbin/nologin", "/bin/sh"),  # DVC runs its commands in it
}
KEPT = {
    "PIP_INDEX_URL": "https://example.org/simple",
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "CUDA_VISIBLE_DEVICES": "",
    "DI2POSE_MOCAP_ROOT": "/somewhere",
    "DVC_SITE_CACHE_DIR": "/somewhere",
}


@pytest.mark.parametrize("flags", [None, "e", "k", "rR"])
def test_what_is_set_for_other_work_changes_nothing_here(checkout, flags):
    given = {name: value for name, (value, _) in INSTEAD.items()}
    calls, _ = checkout.make("smoke", **NEUTRAL, **given, **KEPT, MAKEFLAGS=flags)
    assert installations(calls)
    for call in calls:
        assert not {*NEUTRAL} & {*call.environment}
        for name, (_, instead) in INSTEAD.items():
            if name != "SHELL":
                assert call.environment[name] == instead.format(checkout=checkout.folder)
        assert {*KEPT.items()} <= {*call.environment.items()}
    assert only(calls).environment["SHELL"] == "/bin/sh"


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not there")
def test_functions_that_a_user_s_bash_exports_are_not_run(checkout):
    exported = {f"BASH_FUNC_{name}%%": "() {  exit 7\n}" for name in ("cat", "mkdir", "touch")}
    calls, _ = checkout.make("smoke", "SHELL=bash", **exported)  # as where /bin/sh is bash
    assert only(calls)


def test_who_has_neither_name_nor_home_gets_both(checkout):
    checkout.program("id", "import sys; sys.exit('-un' in sys.argv)")  # of a user unknown here
    for home in (None, "/nowhere"):
        calls, _ = checkout.make("smoke", USER=None, LOGNAME=None, HOME=home)
        environment = only(calls).environment
        assert environment["LOGNAME"] == "nobody"
        assert environment["HOME"] == str(checkout.folder / "scratch" / "home")
        assert os.path.isdir(environment["HOME"])
    calls, _ = checkout.make("smoke")
    assert only(calls).environment["HOME"] == str(checkout.home)
    assert "LOGNAME" not in only(calls).environment


@pytest.mark.parametrize(("user", "wanted"), [(0, ["--allow-root"]), (1000, [])])
def test_root_may_open_jupyterlab(checkout, user, wanted):
    checkout.program("id", f"print({user})")
    calls, _ = checkout.make("lab")
    notebook = "notebooks/00_start_here.ipynb"
    assert only(calls, "jupyterlab").arguments == ["-m", "jupyterlab", *wanted, notebook]


def test_the_settings_of_the_dvc_project_stand_against_a_users(tmp_path, monkeypatch):
    from dvc.config import Config

    (tmp_path / "config").write_text(
        "[core]\nautostage = true\ncheck_update = true\nanalytics = true\n[cache]\ntype = symlink\n"
    )
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))
    (folder := tmp_path / "project").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / "config")
    config = Config(str(folder))
    for name in ("autostage", "check_update", "analytics"):
        assert config["core"][name] is False, name
    assert config["cache"]["type"] == ["reflink", "copy"]


# --- motion capture and Python, as they are named


@pytest.mark.parametrize("given", ["~/{odd}", "{home}/{odd}", "../home/{odd}"])
def test_the_folder_of_motion_capture_arrives_as_it_was_meant(checkout, given):
    folder = checkout.home / ODD
    folder.mkdir()
    root = given.format(home=checkout.home, odd=ODD)
    for goals, environment in (
        (["mocap", f"MOCAP_ROOT={root}"], {}),
        (["ablations", f"MOCAP_ROOT={root}"], {}),
        (["occlusion"], {"MOCAP_ROOT": root}),
    ):
        calls, _ = checkout.make(*goals, CDPATH="/", **environment)
        for call in of("dvc", calls):
            said = call.environment["DI2POSE_MOCAP_ROOT"]
            assert os.path.samefile(os.path.join(checkout.folder, said), folder)


def test_a_folder_of_motion_capture_that_is_not_there_is_refused_at_once(checkout):
    calls, printed = checkout.make("mocap", "MOCAP_ROOT=~/nowhere", status=2)
    assert "error: MOCAP_ROOT must be a folder of BVH files; got ~/nowhere\n" in printed
    assert not of("dvc", calls)


def test_the_python_to_build_with_may_begin_at_home(checkout):
    (checkout.home / "some python").symlink_to(checkout.programs)
    calls, printed = checkout.make("install", "PYTHON=~/some python/python3.11")
    assert "Creating .venv with Python 3.11.9" in printed and installations(calls)


# --- .venv


def test_an_installation_that_is_up_to_date_costs_nothing(checkout):
    calls, _ = checkout.make("install")
    assert only(calls, "venv").arguments == ["-m", "venv", ".venv"]
    torch, rest = installations(calls)
    assert torch[-1].startswith("torch==") and rest[-2:] == ["-r", "requirements.txt"]
    assert checkout.make("install")[0] == []


@pytest.mark.parametrize("what", ["someone's", "a file"])
def test_a_venv_of_another_maker_is_refused_and_left_as_it_is(checkout, what):
    path = checkout.folder / ".venv"
    file = path if what == "a file" else path / "work"
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    calls, printed = checkout.make("smoke", status=2)
    assert "error: .venv was not made by make: rename it; then make smoke\n" in printed
    assert not calls and file.read_text() == "mine"
    assert path.is_file() or [entry.name for entry in path.iterdir()] == ["work"]


def test_a_venv_that_leads_to_another_checkout_s_is_refused(checkout, tmp_path):
    other = Checkout(tmp_path / "other")
    other.make("install")
    before = sorted((other.folder / ".venv").rglob("*"))
    (checkout.folder / ".venv").symlink_to("../other/.venv")
    calls, printed = checkout.make("smoke", status=2)
    assert "error: .venv is a link to another checkout's: remove the link; then make" in printed
    assert not calls and sorted((other.folder / ".venv").rglob("*")) == before


def test_a_venv_may_lie_on_another_disk(checkout, tmp_path):
    (tmp_path / "disk").mkdir()
    (checkout.folder / ".venv").symlink_to("../disk")
    checkout.make("install", status=2, FAILS="requirements.txt")
    assert installations(checkout.make("smoke")[0])
    assert not installations(checkout.make("smoke")[0])


@pytest.mark.parametrize("at", ["venv .venv", "-r requirements.txt"])
def test_an_installation_that_was_interrupted_is_completed(checkout, at):
    checkout.make("install", status=2, FAILS=at)
    assert not list((checkout.folder / ".venv").glob("installed-*"))
    calls, _ = checkout.make("smoke")
    assert installations(calls) and only(calls)


def test_a_venv_whose_python_has_gone_is_made_anew(checkout):
    checkout.make("install")
    python = checkout.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    (checkout.folder / ".venv" / "left").mkdir()
    calls, printed = checkout.make("smoke")
    assert "Creating .venv" in printed and installations(calls)
    assert not (checkout.folder / ".venv" / "left").exists()


def test_two_installations_at_once_are_refused(checkout):
    checkout.make("install", status=2, FAILS="requirements.txt")
    busy = checkout.folder / ".venv" / "installing"
    assert not busy.exists()
    busy.write_text(f"{os.getpid()}\n")
    calls, printed = checkout.make("smoke", status=2)
    assert f"error: process {os.getpid()} is installing into .venv: wait for it" in printed
    assert not calls
    ended = subprocess.Popen(["true"])
    ended.wait()
    busy.write_text(f"{ended.pid}\n")
    assert installations(checkout.make("smoke")[0])


FAKE_PIP = """
import sys
if "install" in sys.argv:
    print("asked to install", sys.argv[-1])
"""
TOOL = """
import sys
import di2pose_lib
def main():
    print(di2pose_lib.__file__, *sys.argv[1:])
"""


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_checkout_that_moves_takes_its_venv_along(checkout, tmp_path, move):
    """With a real Python, whose pip is made up, and a program that pip would have written."""
    folder = checkout.folder
    venv.create(folder / ".venv", symlinks=True)
    (folder / ".venv" / "made-by-make").write_text(f"{folder}\n")
    (packages,) = (folder / ".venv").glob("lib/python3*/site-packages")
    for name, text in (
        ("pip/__init__.py", ""),
        ("pip/__main__.py", FAKE_PIP),
        ("tool.py", TOOL),
        ("tool-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n"),
        ("tool-1.0.dist-info/entry_points.txt", "[console_scripts]\ntool = tool:main\n"),
    ):
        (packages / name).parent.mkdir(exist_ok=True)
        (packages / name).write_text(text)
    program = folder / ".venv" / "bin" / "tool"
    program.write_text(f"#!{folder}/.venv/bin/python\nfrom tool import main\nmain()\n")
    program.chmod(0o755)

    def told(folder):
        """What the program tells of its library, called by itself and after `activate`."""
        activated = f". .venv/bin/activate && tool {shlex.quote(ODD)}"
        commands = ([str(folder / ".venv/bin/tool"), ODD], ["sh", "-c", activated])
        clean = {"PATH": os.environ["PATH"]}
        return {subprocess.check_output(c, cwd=folder, env=clean, text=True) for c in commands}

    def wanted(folder):
        return {f"{folder}/di2pose_lib/__init__.py {ODD}\n"}

    checkout.make("install")
    assert told(folder) == wanted(folder)
    assert "asked" not in checkout.make("install")[1]
    there = tmp_path / "it's elsewhere"
    move(folder, there, symlinks=True) if move is shutil.copytree else move(folder, there)
    _, printed = checkout.make("install", folder=there)
    assert "asked to install requirements.txt" in printed
    assert told(there) == wanted(there)
    assert "asked" not in checkout.make("install", folder=there)[1]


# --- git


def dvc_settings(calls):
    return {tuple(call.arguments[2:]) for call in of("dvc", calls) if "config" in call.arguments}


def test_a_copy_without_git_says_so_to_dvc_and_a_clone_does_not(checkout):
    assert not dvc_settings(checkout.make("install")[0])
    (checkout.folder / ".git").rmdir()
    calls, _ = checkout.make("smoke")
    wanted = ("config", "--local", "core.no_scm", "true")
    assert dvc_settings(calls) == {wanted}
    local = checkout.folder / ".dvc" / "config.local"
    local.write_text("[core]\n    no_scm = true\n")
    assert not dvc_settings(checkout.make("smoke")[0])
    (checkout.folder / ".git").mkdir()
    calls, _ = checkout.make("smoke")
    wanted = ("config", "--local", "--unset", "core.no_scm")
    assert dvc_settings(calls) == {wanted}
