"""Time and memory of the diffusion loss beside cross entropy, and beside the dense formulation.

`python benchmarks/loss.py [OUT.json]`: forward and backward at the paper's sizes (B = 8,
N = 100, C = 4375), float32, on the GPU where there is one, else on two threads. All three run
in turns in one process, and the ratios of their medians are what counts. Where a process has its
memory moves its ratios more than anything else does, so several processes measure, one after the
other: the medians of their ratios count, and all are kept. Extra memory is the peak above logits
and gradient, in units of the logits' bytes, on ten times as many poses.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from dense_loss import dense_loss  # noqa: E402
from machine import keep, machine  # noqa: E402

from di2pose_lib.diffusion.losses import diffusion_loss  # noqa: E402
from di2pose_lib.diffusion.transitions import OccludeReplaceSchedule, q_sample  # noqa: E402

B, N, C, S = 8, 100, 4375, 100
TURNS = 201  # the first warms up
DENSE_EVERY = 20  # seldom: it leaves other caches behind
PROCESSES = 7
ONE = "--one-process"
RATIOS = ("loss_over_cross_entropy", "extra_memory_over_logits", "dense_over_loss")


def peak_bytes(where):
    """The most memory held since it was last asked; asking begins anew."""
    if where.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak
    lines = Path("/proc/self/status").read_text().splitlines()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def extra_memory(schedule, where, generator):
    """Peak above logits and gradient of one forward and backward, in the logits' bytes."""
    logits = torch.randn(10 * B, N, C, generator=generator).to(where).requires_grad_()
    logits.grad = torch.zeros_like(logits)
    k_start = torch.randint(C, (10 * B, N), generator=generator)
    step = torch.randint(2, S + 1, (10 * B,), generator=generator)
    k_s = q_sample(schedule, k_start, step, generator)
    peak_bytes(where)
    before = peak_bytes(where)
    logits.grad = None
    diffusion_loss(schedule, logits, k_start, k_s, step).loss.backward()
    return (peak_bytes(where) - before) / (logits.numel() * logits.element_size())


def measure():
    """Milliseconds and ratios of this process."""
    torch.set_num_threads(2)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    schedule = OccludeReplaceSchedule(C, S)
    generator = torch.Generator().manual_seed(0)
    # first of all, while no memory that was given back lies about to be taken again
    memory = extra_memory(schedule, where, generator)
    logits = torch.randn(B, N, C, generator=generator).to(where).requires_grad_()
    k_start = torch.randint(C, (B, N), generator=generator)
    step = torch.randint(2, S + 1, (B,), generator=generator)
    k_s = q_sample(schedule, k_start, step, generator)
    there = [tokens.to(where) for tokens in (k_start, k_s, step)]  # training's are on the CPU

    def cross_entropy():
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), there[0].flatten())

    contestants = {
        "cross entropy": lambda: cross_entropy().backward(),
        "diffusion loss": lambda: diffusion_loss(
            schedule, logits, k_start, k_s, step
        ).loss.backward(),
        "dense formulation": lambda: dense_loss(schedule, logits, *there, 5e-4)[0].backward(),
    }
    seconds = {name: [] for name in contestants}
    for turn in range(TURNS):
        for name, run in contestants.items():
            if name == "dense formulation" and turn % DENSE_EVERY:
                continue
            logits.grad = None
            started = _now(where)
            run()
            if turn:
                seconds[name].append(_now(where) - started)
    medians = {name: statistics.median(times) for name, times in seconds.items() if times}
    return {
        "machine": machine(),
        "milliseconds": {name: 1e3 * value for name, value in medians.items()},
        "loss_over_cross_entropy": medians["diffusion loss"] / medians["cross entropy"],
        "extra_memory_over_logits": memory,
        "dense_over_loss": medians["dense formulation"] / medians["diffusion loss"],
    }


def main():
    """Print the ratios, and write them where a path is given."""
    if sys.argv[1:] == [ONE]:
        print(json.dumps(measure()))
        return
    command = [sys.executable, __file__, ONE]
    runs = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(PROCESSES)
    ]
    result = {
        "machine": runs[0]["machine"],
        "sizes": {"B": B, "N": N, "C": C},
        **{name: statistics.median(run[name] for run in runs) for name in RATIOS},
        "of_each_process": {name: [run[name] for run in runs] for name in RATIOS},
        "milliseconds": [run["milliseconds"] for run in runs],
    }
    print(json.dumps(result, indent=1))
    keep(result, sys.argv)


def _now(where):
    if where.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
