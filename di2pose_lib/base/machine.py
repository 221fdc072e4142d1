"""The machine that numbers were made on: their last bits depend on it."""

import platform
from pathlib import Path

import torch


def machine():
    """What the last bits of results depend on, for JSON: no name of a host, no path.

    Returns:
        a dict: `cpu`, the processor's model; `vectors`, its instructions that torch uses;
        `threads`, torch's at this moment, so ask after `torch.set_num_threads`; `gpu`, its name,
        where there is CUDA.
    """
    facts = {
        "cpu": cpu_model(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def cpu_model(cpuinfo="/proc/cpuinfo"):
    """The first model that Linux names, else what the platform calls its processor."""
    path = Path(cpuinfo)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.partition(":") for line in lines)
    models = [value.strip() for key, _, value in pairs if key.strip() == "model name"]
    return models[0] if models else platform.processor() or platform.machine() or "unknown"
