"""The machine that a benchmark runs on, as the files in benchmarks/results/ describe it."""

import os
import platform
from pathlib import Path

import torch


def machine():
    """What the times depend on, for JSON: no name of a host, no path.

    Returns:
        a dict: `cpu`, the processor's model; `cores`, those that this process may use;
        `memory_gib`; `threads`, torch's at this moment, so ask after `torch.set_num_threads`;
        versions `torch` and `python`; `gpu`, its name, where there is CUDA.
    """
    found = {
        "cpu": cpu_model(),
        "cores": _cores(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def cpu_model(cpuinfo="/proc/cpuinfo"):
    """The first model that Linux names, else what the platform calls its processor."""
    path = Path(cpuinfo)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.partition(":") for line in lines)
    models = [value.strip() for key, _, value in pairs if key.strip() == "model name"]
    return models[0] if models else platform.processor() or platform.machine()


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
