"""Speed and memory of the renderer: pictures per second.

    python benchmarks/renderer.py [--device cuda] [--seconds 10] [--threads 1]

Other work on the machine only ever slows a run down, so each number is the best of
several short runs; on a busy machine two threads mostly wait for each other, and one
thread tells more. Ratios are against the same pictures drawn one at a time, and all
at once; the goal on two cores is 500 pictures/s at 64 × 48 and 150 at 128 × 96.
"""

import argparse
import functools
import json
import resource
import time

import torch
from machine import machine

from di2pose_lib.data import camera
from di2pose_lib.data.appearance import sample_appearance, sample_occluders
from di2pose_lib.data.render import render

# x to the right, y down, z forward, metres from the pelvis: a person who faces the camera.
STANDING = (
    *((0, 0, 0), (-0.13, 0, 0), (-0.13, 0.45, 0), (-0.13, 0.9, 0.02)),
    *((0.13, 0, 0), (0.13, 0.45, 0), (0.13, 0.9, 0.02)),
    *((0, -0.24, 0.01), (0, -0.49, 0.01), (0, -0.6, -0.05), (0, -0.715, -0.02)),
    *((0.16, -0.45, 0), (0.22, -0.17, 0.03), (0.24, 0.07, -0.03)),
    *((-0.16, -0.45, 0), (-0.22, -0.17, 0.03), (-0.24, 0.07, -0.03)),
)
GOALS = {(64, 48): 500, (128, 96): 150}


def turned_people(num, generator):
    """Joints (num, 17, 3): standing people turned at random, each joint moved by some cm."""
    yaw = torch.rand(num, generator=generator) * 2 * torch.pi
    zero, one = torch.zeros(num), torch.ones(num)
    turn = [yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos()]
    turn = torch.stack(turn, -1).reshape(num, 3, 3)
    body = torch.tensor(STANDING) + 0.05 * torch.randn(num, 17, 3, generator=generator)
    return body @ turn.transpose(1, 2) + torch.tensor([0.0, 0.0, 4.0])


def best_rates(draws, num, seconds, device):
    """Best pictures per second of each function, run in turn for `seconds`, thrice at least.

    In turn, so that a busy minute of the machine falls on all of them.
    """
    best, rounds, stop = [0.0] * len(draws), 0, time.perf_counter() + seconds
    while rounds < 3 or time.perf_counter() < stop:
        for place, draw in enumerate(draws):
            start = time.perf_counter()
            draw()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[place] = max(best[place], num / (time.perf_counter() - start))
        rounds += 1
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--pictures", default=128, type=int)
    parser.add_argument("--seconds", default=10.0, type=float, help="for each size")
    parser.add_argument("--threads", default=2, type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, num = options.device, options.pictures
    generator = torch.Generator().manual_seed(0)
    joints = turned_people(num, generator).to(device)
    appearance = sample_appearance(num, generator).to(device)

    default = []
    for size, goal in GOALS.items():
        intrinsics = camera.crop_intrinsics(joints, size)
        points = camera.project(joints, intrinsics)
        shapes = sample_occluders(points, size, generator, clear_share=0.0)
        variants = {
            "chunks (default)": {},
            "chunks, with occluders": {"occluders": shapes},
            "one at a time": {"chunk_size": 1},
            "all at once": {"chunk_size": num},
        }
        draws = [
            functools.partial(render, joints, intrinsics, appearance, size, **extra)
            for extra in variants.values()
        ]
        rates = best_rates(draws, num, options.seconds, device)
        default.append(rates[0])
        for name, rate in zip(variants, rates, strict=True):
            print(
                f"{size[0]:4d} x {size[1]:3d}  {name:24s} {rate:8.0f} pictures/s"
                f"   default is {rates[0] / rate:4.2f} times as fast   goal {goal}"
            )
    ratio = default[0] / default[1]
    print(f"a picture of 128 x 96 takes {ratio:.2f} times as long as one of 64 x 48")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process {peak:.0f} MiB, {device}")
    print(json.dumps({"machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
