"""The machine that a benchmark runs on, as the files in benchmarks/results/ describe it."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

from di2pose_lib.base import machine as library
from di2pose_lib.base import surroundings


def machine():
    """What the times depend on, for JSON: no name of a host, no path.

    Returns:
        a dict: what `di2pose_lib.base.machine` tells (`cpu`, `vectors`, `threads` and, where there
        is one, `gpu`); `cores`, those that this process may use; `memory_gib`; versions `torch` and
        `python`.
    """
    return {
        **library.machine(),
        "cores": _cores(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


ROOT = Path(__file__).resolve().parent.parent


def keep(result, arguments, gpu_folder=ROOT / "results" / "gpu"):
    """Write what a script measured where its arguments say, on a GPU else to `gpu_folder`.

    Args:
        result: for JSON.
        arguments: `sys.argv` of the script: its own path, then one to write to, or none.
    """
    surroundings.check(ROOT)
    script = Path(arguments[0])
    path = Path(arguments[1]) if len(arguments) > 1 else gpu_folder / f"{script.stem}.json"
    if torch.cuda.is_available():
        command = ["python", f"benchmarks/{script.name}", *arguments[1:]]
        made_by = {"command": " ".join(command), "commit": _commit(), "cuda": torch.version.cuda}
        result = {"made_by": made_by, **result}
    elif len(arguments) < 2:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path.name}", file=sys.stderr)


def _commit():
    """The commit of this checkout, with "-dirty" where files differ from it; else "unknown"."""
    ask = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(ask, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
