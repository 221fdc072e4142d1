"""README's picture, from the lesson pipeline that `make repro` leaves: docs/result.png.

One test image with a hidden leg, its tokens filled in by Algorithm 2, eight poses that it draws,
and the mean pose.
"""

import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb

from di2pose_lib.base import project
from di2pose_lib.base.metrics import mpjpe_mm
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.base.skeleton import BONES, JOINT_NAMES
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.diffusion.sampler import sample
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation.baselines import mean_pose_per_camera
from di2pose_lib.evaluation.stage import pose_model

NUM_HYPOTHESES = 8
STATES = 6  # of the tokens, from noise to clean
LEGS = {"right": (2, 3), "left": (5, 6)}  # knee and ankle
CAMERA, SIDE = (0, 1), (2, 1)  # the axes of a view: x right or z away from the camera, y down

WIDTH, HEIGHT, SCALE = 1640, 640, 232  # pixels, pixels, pixels for a metre
TOP, BOTTOM = 100, 560  # of the panels, pixels
PELVIS, REACH = 305, 185  # height of the pelvis in a panel, half a panel's width, pixels
INK, GREY, EMPTY = "#1f2430", "#6b7280", "#dfe3ea"
BODY, HIDDEN, MEAN = "#3b82c4", "#f0701f", "#a8b0bd"
TOKENS = plt.get_cmap("turbo")

# Radius of the capsule that ends at a joint, metres.
THICK = {"hip": 0.085, "knee": 0.075, "ankle": 0.055, "spine": 0.125, "thorax": 0.12}
THICK |= {"nose": 0.05, "head": 0.1, "shoulder": 0.07, "elbow": 0.047, "wrist": 0.04}


def distance(pose, view, bones=BONES):
    """Signed distance (HEIGHT, 2 REACH) in pixels from a body of capsules; negative inside."""
    y, x = np.mgrid[:HEIGHT, -REACH:REACH]
    pixels = np.stack([x, y], axis=-1).astype(float)
    joints = pose[:, view].numpy() * SCALE + [0, PELVIS]
    nearest = np.full(pixels.shape[:2], np.inf)
    for parent, child in bones:
        radius = THICK[JOINT_NAMES[child].split()[-1]] * SCALE
        bone, apart = joints[child] - joints[parent], pixels - joints[parent]
        along = (apart @ bone / max(bone @ bone, 1e-9)).clip(0, 1)
        gap = np.linalg.norm(apart - along[..., None] * bone, axis=-1) - radius
        np.minimum(nearest, gap, out=nearest)
    return nearest


def fill(panel, colour, mask, opacity=1.0):
    """Paint a colour where the mask (HEIGHT, 2 REACH) in [0, 1] is, in place."""
    share = opacity * mask[..., None]
    panel[:] = (1 - share) * panel + share * np.array(to_rgb(colour))


def body(panel, pose, view, colour, opacity, bones=BONES):
    """Paint a pose (J, 3), metres, or some of its bones."""
    fill(panel, colour, (0.5 - distance(pose, view, bones)).clip(0, 1), opacity)


def outline(panel, pose, view):
    """Paint the outline of a pose (J, 3), metres."""
    fill(panel, INK, (2.5 - abs(distance(pose, view))).clip(0, 1))


def tokens(canvas, state, num_codes, left, top, cell=16):
    """Paint tokens (N,) in three rows; the last code is Occ."""
    colours = TOKENS(state.numpy() / num_codes)[:, :3]
    colours[state.numpy() == num_codes] = to_rgb(EMPTY)
    for number, colour in enumerate(colours):
        row, column = divmod(number, -(-len(state) // 3))
        here = np.s_[top + row * cell : top + (row + 1) * cell - 2]
        canvas[here, left + column * cell : left + (column + 1) * cell - 2] = colour


def chain(model, features, generator):
    """Tokens (N,) at each noisy step of Algorithm 2, and the clean ones, in this order."""
    states, along = [], model.along_chain()
    clean = sample(
        along.denoiser,
        along.schedule,
        features,
        along.tokenizer.config.num_tokens,
        along.num_inference_steps,
        generator,
        on_step=lambda step, k_s, _: states.append(k_s[0].cpu()),
    )
    return [*states, clean[0].cpu()]


def first_with_a_hidden_leg(covered):
    """(row, name of the leg) of the first image of which a leg is all that is covered."""
    for row, hidden in enumerate(covered):
        for name, leg in LEGS.items():
            if hidden.nonzero().flatten().tolist() == list(leg):
                return row, name
    raise ValueError("no image of the occluded test split hides a leg alone")


def main():
    os.environ.setdefault(project.STAGE_VARIABLE, "start_here")  # read the pipeline's outputs
    pipeline = project.open_pipeline("params.yaml")
    data, model = prepared_data(pipeline), pose_model(pipeline)
    test, train = data["test_occluded"], data["train"]
    row, side = first_with_a_hidden_leg(test.take("covered"))  # not chosen by result
    leg, rows = LEGS[side], torch.tensor([row])
    truth = test.take("pose", rows)[0]
    features = encode_images(trained_encoder(pipeline).model, test, rows)
    seed = pipeline.config.seed
    states = chain(model, features, generator_for(seed, "picture, tokens"))
    poses, _ = model.along_chain().hypotheses(
        features, NUM_HYPOTHESES, generator_for(seed, "picture")
    )
    poses = poses[0].cpu()
    where = (train.take("camera_position"), test.take("camera_position", rows))
    (mean,) = mean_pose_per_camera(train.take("pose"), *where)

    hidden = [bone for bone in BONES if bone[1] in leg]
    seen = [bone for bone in BONES if bone[1] not in leg]
    canvas = np.ones((HEIGHT, WIDTH, 3))
    places = np.linspace(0, len(states) - 1, STATES).round().astype(int)
    tops = np.linspace(TOP, BOTTOM - 3 * 16, STATES).astype(int)
    for place, top in zip(places, tops, strict=True):
        tokens(canvas, states[place], model.schedule.num_codes, 400, top)
    camera, side_view, no_picture = (
        canvas[:, centre - REACH : centre + REACH] for centre in (890, 1165, 1450)
    )
    for panel, view in ((camera, CAMERA), (side_view, SIDE)):
        for colour, bones in ((BODY, seen), (HIDDEN, hidden)):
            for pose in poses:
                body(panel, pose, view, colour, 0.2, bones)
        outline(panel, truth, view)
    body(no_picture, mean, CAMERA, MEAN, 1.0)
    outline(no_picture, truth, CAMERA)

    figure = plt.figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas)
    picture = test.take("image", rows)[0].permute(1, 2, 0)
    axes.imshow(picture, extent=(20, 365, BOTTOM, TOP), interpolation="lanczos")
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.axis("off")

    def words(x, title, below):
        axes.text(x, 50, title, size=22, weight="bold", color=INK, ha="center", va="center")
        axes.text(x, 605, below, size=17, color=GREY, ha="center", va="center")

    errors = mpjpe_mm(poses, truth.expand_as(poses))
    words(192, "one picture", f"the {side} leg is hidden")
    words(535, "pose tokens", "filled in step by step")
    words(
        1010,
        "eight answers",
        f"outline: the truth; {errors.min():.0f} to {errors.max():.0f} mm off",
    )
    words(1450, "mean pose", f"no picture; {mpjpe_mm(mean[None], truth[None])[0]:.0f} mm off")
    target = Path(__file__).with_name("result.png")
    figure.savefig(target, pil_kwargs={"optimize": True})
    print(f"{target}: image {row} of the occluded test split, black outlines are the truth")


if __name__ == "__main__":
    main()
