"""How near does training come to the rate of bare matrix products, and where does the rest go?

`python benchmarks/training.py [OUT.json]`: a training step of the denoiser (forward, loss,
backward, clipping, AdamW, average of the weights) beside the matrix products alone that it
holds, at their sizes, in one process on two threads (or the GPU where there is one). The
rate is floating-point operations of these products a second; the goal is 40 % of what the
products reach by themselves. The profile says where a step's time goes.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from machine import keep, machine  # noqa: E402

from di2pose_lib.base.config import OptimizerConfig  # noqa: E402
from di2pose_lib.base.training import make_optimizer  # noqa: E402
from di2pose_lib.diffusion import OccludeReplaceSchedule, q_sample  # noqa: E402
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig  # noqa: E402
from di2pose_lib.diffusion.losses import diffusion_loss  # noqa: E402

S, GOAL = 100, 0.4
CASES = {  # batch, denoiser
    "lesson": (
        16,
        {"num_codes": 1000, "num_tokens": 51, "condition_tokens": 48}
        | {"condition_width": 128, "width": 128, "layers": 4, "heads": 4},
    ),
    "the paper's width, two layers": (
        4,
        {"num_codes": 4375, "num_tokens": 100, "condition_tokens": 192}
        | {"condition_width": 768, "width": 1024, "layers": 2, "heads": 16},
    ),
}
GROUPS = {  # of the profile: names of operators
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::_scaled_dot_product"),
    "optimizer": ("aten::_fused_adamw_", "aten::_foreach"),
    "GELU": ("aten::gelu",),
    "layer norms": ("aten::native_layer_norm",),
}
FORWARD_LOSS = "the loss"
# its parts, forward and backward, with all operators within them, which are in no group above
LOSS = (FORWARD_LOSS, "autograd::engine::evaluate_function: _RowTermsBackward")


def products(batch, sizes):
    """(count, batch of products, rows, inner, columns) of all products of a forward pass."""
    width, heads = sizes["width"], sizes["heads"]
    rows, seen = batch * sizes["num_tokens"], batch * sizes["condition_tokens"]
    layers, tokens, head = sizes["layers"], sizes["num_tokens"], width // heads
    linear = [
        (layers, 1, rows, width, 3 * width),
        (3 * layers, 1, rows, width, width),
        (layers, 1, seen, sizes["condition_width"], 2 * width),
        (layers, 1, rows, width, 4 * width),
        (layers, 1, rows, 4 * width, width),
        (2 * layers, 1, batch, width, 2 * width),
        (1, 1, rows, width, sizes["num_codes"]),
    ]
    attention = [
        (layers, batch * heads, tokens, head, keys) for keys in (tokens, sizes["condition_tokens"])
    ] + [
        (layers, batch * heads, tokens, keys, head) for keys in (tokens, sizes["condition_tokens"])
    ]
    return linear + attention


def product_seconds(batch, sizes, where, measure):
    """(seconds, operations) of all products of a step: each, and the two of its backward pass."""
    seconds = operations = 0.0
    for count, many, rows, inner, columns in products(batch, sizes):
        for a, b, c in ((rows, inner, columns), (rows, columns, inner), (inner, rows, columns)):
            left = torch.randn(many, a, b, device=where)
            right = torch.randn(many, b, c, device=where)
            if many == 1:
                left, right = left[0], right[0]
            seconds += count * measure(lambda left=left, right=right: left @ right)
            operations += count * 2 * many * a * b * c
    return seconds, operations


def measured(where):
    """`run -> median seconds` of a call."""

    def finish():
        if where.type == "cuda":
            torch.cuda.synchronize()

    def measure(run, seconds=0.5):
        run()
        finish()
        times, begun = [], time.perf_counter()
        while len(times) < 5 or time.perf_counter() - begun < seconds:
            started = time.perf_counter()
            run()
            finish()
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    return measure


def training_step(batch, sizes, where):
    """A callable that trains a denoiser for one step."""
    denoiser = Denoiser(DenoiserConfig(num_steps=S, **sizes)).to(where).train()
    settings = OptimizerConfig(1.0, batch, 1e-4, 0.045, 0.96, 1, 0.5, 0.999, 1)
    optimizer = make_optimizer(denoiser, settings)
    average = [p.detach().clone() for p in denoiser.parameters()]
    schedule = OccludeReplaceSchedule(sizes["num_codes"], S)
    generator = torch.Generator().manual_seed(0)
    shape = (batch, sizes["num_tokens"])
    k_start = torch.randint(sizes["num_codes"], shape, generator=generator)
    step = torch.randint(1, S + 1, (batch,), generator=generator)
    k_s = q_sample(schedule, k_start, step, generator)
    given = (k_s.to(where), step.to(where))
    features = torch.randn(batch, sizes["condition_tokens"], sizes["condition_width"]).to(where)

    def run():
        optimizer.zero_grad(set_to_none=True)
        logits = denoiser(*given, features)
        with torch.profiler.record_function(FORWARD_LOSS):
            loss = diffusion_loss(schedule, logits, k_start, k_s, step).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 0.5)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(denoiser.parameters()), 0.001)

    return run


def profile(run, where):
    """{group: share of all operators' time} of one step."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if where.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as recorded:
        for _ in range(3):
            run()
    kind = "device" if where.type == "cuda" else "cpu"
    events = recorded.key_averages()
    own = {event.key: getattr(event, f"self_{kind}_time_total") for event in events}
    whole = {event.key: getattr(event, f"{kind}_time_total") for event in events}
    total = sum(own.values())
    shares = {
        group: sum(t for key, t in own.items() if any(name in key for name in names)) / total
        for group, names in GROUPS.items()
    }
    shares["loss"] = sum(whole[part] for part in LOSS) / total
    return {**shares, "everything else": 1 - sum(shares.values())}


def main():
    """Print rates and shares, and write them where a path is given."""
    torch.set_num_threads(2)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measure = measured(where)
    result = {"machine": machine(), "goal": GOAL, "cases": {}}
    for name, (batch, sizes) in CASES.items():
        run = training_step(batch, sizes, where)
        step = measure(run, seconds=5.0)
        bare, operations = product_seconds(batch, sizes, where, measure)
        result["cases"][name] = {
            "step_ms": 1e3 * step,
            "bare_products_ms": 1e3 * bare,
            "gigaflops_of_the_step": operations / step / 1e9,
            "gigaflops_of_the_products": operations / bare / 1e9,
            "share_of_the_products_rate": bare / step,
            "profile": profile(run, where),
        }
        print(name, json.dumps(result["cases"][name], indent=1), flush=True)
    keep(result, sys.argv)


if __name__ == "__main__":
    main()
