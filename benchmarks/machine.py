"""The machine that a benchmark runs on, as the files in benchmarks/results/ describe it."""

import os
import platform

import torch

from di2pose_lib import machine as library


def machine():
    """What the times depend on, for JSON: no name of a host, no path.

    Returns:
        a dict: what `di2pose_lib.machine` tells (`cpu`, `vectors`, `threads` and, where there
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


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
