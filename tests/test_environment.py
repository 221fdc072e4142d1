"""The files that say what to install agree, and the core needs torch, numpy, filelock alone."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from notebook_code import notebook_source
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

import di2pose_lib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TRANSITIVE = "# what those need, pinned as well"
OVERRIDES = set((ROOT / "pipelines").glob("*.yaml")) - {ROOT / "pipelines" / "dvc.yaml"}
PARAMS = [ROOT / "params.yaml", *sorted(OVERRIDES)]

# Modules that measure, draw figures or run notebooks; all others are the core.
NOT_CORE = ("evaluation", "figures", "kernel", "run_notebook")
IMPORTED_AS = {"PIL": "pillow", "ruamel": "ruamel.yaml", "yaml": "pyyaml"}


def requirement_lines():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins():
    """{name: version} of requirements.txt."""
    found = {}
    for line in requirement_lines():
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
        assert match, f"requirements.txt must hold exact pins for any platform; got {line}"
        name = match[1].lower().replace("_", "-")
        assert name not in found, f"{name} is pinned twice"
        found[name] = match[2]
    return found


def directly_pinned():
    """Names in requirements.txt above the line that starts the transitive ones."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    head, tail = text.split(TRANSITIVE)
    assert len(tail.splitlines()) > 100
    lines = [line for line in head.splitlines() if line and not line.startswith("#")]
    return {line.split("==")[0].lower() for line in lines}


def test_torch_comes_first():
    assert requirement_lines()[0].startswith("torch==")


def test_every_dependency_of_the_package_is_pinned_within_its_range():
    optional = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for line in PROJECT["dependencies"] + optional:
        requirement = Requirement(line)
        version = pins()[requirement.name]
        assert requirement.specifier.contains(version), f"{line} against =={version}"
        assert requirement.name in directly_pinned()


def test_conda_gives_a_supported_python_and_leaves_the_rest_to_the_same_pins():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    dependencies = YAML(typ="safe", pure=True).load(text)["dependencies"]
    python, pip, packages = dependencies
    assert pip == "pip"
    assert packages == {"pip": ["-r requirements.txt", "-e ."]}
    minor = re.fullmatch(r"python=(3\.\d+)", python)[1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{minor}.99")


def test_the_supported_pythons_are_the_same_everywhere():
    supported = SpecifierSet(PROJECT["requires-python"])
    wanted = {"3.10.99": False, "3.11.4": False, "3.11.5": True, "3.12.0": True, "3.13.0": False}
    assert {version: supported.contains(version) for version in wanted} == wanted
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    check = re.search(r"not (\(3.*?\)) <= sys.version_info\[:3\] < (\(3.*?\))\)", makefile)
    low, high = ast.literal_eval(check[1]), ast.literal_eval(check[2])
    for version, allowed in wanted.items():
        assert (low <= tuple(map(int, version.split("."))) < high) == allowed, version


def test_the_citation_names_the_version_and_licence_of_the_package():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation = YAML(typ="safe", pure=True).load(text)
    assert citation["version"] == di2pose_lib.__version__
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def imported_packages(source):
    """Top-level names of the packages that Python source imports, here and there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_every_package_that_is_imported_is_pinned_directly():
    sources = {path: path.read_text("utf-8") for path in ROOT.glob("di2pose_lib/**/*.py")}
    sources |= {path: path.read_text("utf-8") for path in ROOT.glob("studies/*.py")}
    sources |= {path: path.read_text("utf-8") for path in ROOT.glob("tests/**/*.py")}
    sources |= {path: path.read_text("utf-8") for path in ROOT.glob("benchmarks/*.py")}
    sources |= {path: notebook_source(path) for path in ROOT.glob("notebooks/*.ipynb")}
    own = {"di2pose_lib", "studies"}
    own |= {path.stem for path in (*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/*.py"))}
    for path, source in sources.items():
        for package in set(imported_packages(source)) - own - sys.stdlib_module_names:
            name = IMPORTED_AS.get(package, package).lower()
            # IPython comes with ipykernel, whatever runs a notebook has it.
            assert name in directly_pinned() | {"ipython"}, f"{path.name} imports {package}"


def test_importing_the_core_needs_torch_numpy_and_filelock_alone():
    library = ROOT / "di2pose_lib"
    files = (path.relative_to(library).with_suffix("") for path in library.rglob("*.py"))
    names = sorted(".".join(file.parts) for file in files if file.stem != "__init__")
    core = [name for name in names if not name.startswith(NOT_CORE)]
    assert len(core) > 25
    blocked = directly_pinned() - {"torch", "numpy", "filelock", "ruamel.yaml", "pyyaml"}
    blocked |= {"IPython", "PIL", "ruamel", "yaml", "pandas", "scipy", "tqdm"}
    program = f"""
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(blocked)!r}:
            raise ModuleNotFoundError(name + " is blocked", name=name)
import torch, numpy  # what these import is theirs to decide
for name in {sorted(blocked)!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Refuse())
for name in {core!r}:
    importlib.import_module("di2pose_lib." + name)
try:
    import plotly
except ModuleNotFoundError:
    print("all imported")
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.stdout == "all imported\n", result.stderr


@pytest.mark.parametrize("path", PARAMS, ids=lambda path: path.parent.name)
def test_yaml_1_1_and_1_2_readers_read_the_parameters_alike(path):
    text = path.read_text(encoding="utf-8")
    new, old = YAML(typ="safe", pure=True).load(text), yaml.safe_load(text)
    assert new == old
    # == takes 1 for 1.0 and True; the types must agree as well
    assert str(new) == str(old)


def test_the_comparison_of_the_readers_can_fail():
    text = "learning_rate: 1e-4\n"
    assert YAML(typ="safe", pure=True).load(text) != yaml.safe_load(text)
