"""Time and peak memory of a pipeline: `python benchmarks/repro.py [PIPELINE] [--out FILE]`.

FILE is JSON that keeps the figures and the machine of each pipeline; options of `dvc repro`
may follow. Runs the main job, or PIPELINE of pipelines/dvc.yaml, and adds up, every
three seconds, the memory of DVC and all that it starts: proportional set size, so that a page
that two processes share counts once. Pages of memory-mapped files count while they are in
use. A pipeline that is up to date takes no time: measure in a fresh clone, or with --force.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from machine import machine

from di2pose_lib.base.files import is_there

ROOT = Path(__file__).resolve().parent.parent


def family(parent):
    """`parent` and all processes below it."""
    children = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            above = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has just ended
            continue
        children.setdefault(above, []).append(int(folder.name))
    found = [parent]
    for process in found:
        found += children.get(process, [])
    return found


def memory_mib(process):
    """Proportional set size in MiB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main(arguments):
    """Run, watch, print one line; returns DVC's exit code."""
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "main job"
    out = None
    if arguments[:1] == ["--out"]:
        _, out, *arguments = arguments
    kept = json.loads(Path(out).read_text()) if out and is_there(out) else {}
    programs = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
        "DVC_NO_ANALYTICS": "1",
    }
    started, peak = time.monotonic(), 0.0
    stages = [] if name == "main job" else ["--glob", f"pipelines/dvc.yaml:*@{name}"]
    command = [sys.executable, "-m", "dvc", "repro", *stages, *arguments]
    run = subprocess.Popen(command, cwd=ROOT, env=environment)
    while run.poll() is None:
        peak = max(peak, sum(memory_mib(process) for process in family(run.pid)))
        time.sleep(3)
    minutes = (time.monotonic() - started) / 60
    where = machine()
    print(f"{minutes:.1f} minutes, at most {peak / 1024:.2f} GiB, {where['cores']} cores")
    if out and run.returncode == 0:
        kept[name] = {"minutes": minutes, "peak_gib": peak / 1024, "machine": where}
        Path(out).write_text(json.dumps(kept, indent=1) + "\n")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
