"""Time and peak memory of a pipeline: `python benchmarks/repro.py [FOLDER] [dvc repro's options]`.

Runs `dvc repro` in FOLDER (the repository itself without one) and adds up, every three seconds, the
memory of DVC and all that it starts: proportional set size, so that a page that two
processes share counts once. Pages of memory-mapped files count while they are in use.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

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
    folder = ROOT / (arguments.pop(0) if arguments and not arguments[0].startswith("-") else ".")
    programs = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
        "DVC_NO_ANALYTICS": "1",
    }
    started, peak = time.monotonic(), 0.0
    run = subprocess.Popen(["dvc", "repro", *arguments], cwd=folder, env=environment)
    while run.poll() is None:
        peak = max(peak, sum(memory_mib(process) for process in family(run.pid)))
        time.sleep(3)
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.1f} minutes, at most {peak / 1024:.2f} GiB, {os.cpu_count()} cores")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
