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
from machine import keep, machine

from di2pose_lib.diffusion import OccludeReplaceSchedule, diffusion_loss, q_sample

B, N, C, S = 8, 100, 4375, 100
TURNS = 201  # the first warms up
DENSE_EVERY = 20  # seldom: it leaves other caches behind
PROCESSES = 7
ONE = "--one-process"
RATIOS = ("loss_over_cross_entropy", "extra_memory_over_logits", "dense_over_loss")
FLOOR = 1e-30  # stands for 0 under a logarithm, as in those codes


def log_one_hot(tokens, num_classes):
    """log of one-hot tokens (B, N) -> (B, num_classes, N)."""
    hot = torch.nn.functional.one_hot(tokens, num_classes).permute(0, 2, 1)
    return torch.log(hot.float().clamp_min(FLOOR))


def log_rates(alpha, beta, gamma, step, dtype):
    """Logarithms of rates at `step` (B,), each (B, 1, 1)."""
    rates = (torch.as_tensor(rate)[step].to(dtype) for rate in (alpha, beta, gamma))
    return [rate.clamp_min(FLOOR).log()[:, None, None] for rate in rates]


def log_posterior(schedule, log_start, log_noisy, step):
    """log q(k_{s−1} | k_s, k_0) for log_start one-hot, log p(k_{s−1} | k_s) for log f.

    log_start (B, C, N), log_noisy (B, C + 1, N) one-hot, step (B,); gives (B, C + 1, N).
    """
    dtype = log_start.dtype
    alpha_bar, beta_bar, gamma_bar = log_rates(
        schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar, step, dtype
    )
    before = log_rates(schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar, step - 1, dtype)
    alpha, beta, gamma = log_rates(schedule.alpha, schedule.beta, schedule.gamma, step, dtype)
    occluded = log_noisy[:, -1:] > -1  # (B, 1, N)
    noisy = log_noisy[:, :-1]
    likelihood = torch.logaddexp(noisy + alpha_bar, beta_bar)  # q(k_s | k_0 = i)
    likelihood = torch.where(occluded, gamma_bar, likelihood)
    ratio = log_start - likelihood
    total = torch.logsumexp(ratio, dim=1, keepdim=True)
    earlier = torch.logaddexp(ratio + before[0], total + before[1])  # q(k_{s−1} | k_0), summed
    onward = torch.logaddexp(noisy + alpha, beta)  # q(k_s | k_{s−1} = j)
    onward = torch.where(occluded, gamma, onward)
    codes = earlier + onward
    occ = torch.where(occluded, total + before[2], torch.full_like(total, FLOOR).log())
    return torch.cat([codes, occ], dim=1)


def dense_loss(schedule, logits, k_start, k_s, step, aux_weight):
    """(loss, vlb, aux) as the public multinomial-diffusion codes find them: one-hot, in log space.

    Every tensor is (B, C + 1, N), and sums of probabilities are log-add-exp.
    """
    num_codes = logits.shape[-1]
    log_f = logits.log_softmax(dim=-1).transpose(1, 2)
    log_start = log_one_hot(k_start, num_codes).to(logits.dtype)
    log_noisy = log_one_hot(k_s, num_codes + 1).to(logits.dtype)
    true = log_posterior(schedule, log_start, log_noisy, step)
    model = log_posterior(schedule, log_f, log_noisy, step)
    kl = (true.exp() * (true - model)).sum(dim=1)  # (B, N)
    first = -(log_start.exp() * model[:, :-1]).sum(dim=1)
    kl = torch.where((step == 1)[:, None], first, kl)
    aux = -(log_start.exp() * log_f).sum(dim=1)
    return kl.mean() + aux_weight * aux.mean(), kl.mean(), aux.mean()


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
