"""What this working tree holds, and whether git knows it: it may be no clone."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def is_clone():
    """Whether git is there and tracks this checkout: no copy in another's repository."""
    if not shutil.which("git"):
        return False
    ask = ["git", "ls-files", "--error-unmatch", "dvc.yaml"]
    return subprocess.run(ask, cwd=ROOT, capture_output=True).returncode == 0


def copy_to(folder):
    """Copy every file that git does not ignore, and make the copy a git repository.

    Git is asked through an empty repository elsewhere: this one may be no clone, or not ours. What
    `make smoke` has left here is left out: git neither ignores nor has it.
    """
    if not shutil.which("git"):
        pytest.skip("git is not there, and DVC runs in git repositories")
    with tempfile.TemporaryDirectory() as empty:
        subprocess.run(["git", "init", "--quiet", "--bare", empty], check=True)
        listing = ["git", f"--git-dir={empty}", f"--work-tree={ROOT}", "ls-files", "-z"]
        listing += ["--others", "--exclude-per-directory=.gitignore"]  # not a user's own
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    # no folders (another checkout within this one), no links to nowhere
    for name in filter(lambda name: name and (ROOT / name).is_file(), names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / "pipelines/dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(folder / "results/smoke", ignore_errors=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
