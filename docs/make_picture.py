"""README's picture, from the lesson pipeline that `make repro` leaves: docs/result.png."""

import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from di2pose_lib.base import project
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.base.skeleton import BONES
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation.stage import pose_model

NUM_HYPOTHESES = 8
TRUTH, MEAN = "#222222", "#d55e00"
EXAMPLES = 5
VIEWS = {"as the camera sees it": -90, "from the side": 0}  # azimuth in degrees


def draw(axes, pose, colour, **style):
    """A stick figure of (J, 3) metres, upright: x, z, −y."""
    for parent, child in BONES:
        x, y, z = pose[[parent, child]].T
        axes.plot(x, z, -y, color=colour, **style)


def main():
    os.environ.setdefault(project.STAGE_VARIABLE, "start_here")  # read the pipeline's outputs
    pipeline = project.open_pipeline("params.yaml")
    data, model = prepared_data(pipeline)["test_occluded"], pose_model(pipeline)
    encoder = trained_encoder(pipeline).model
    # Test images with 3 to 7 covered joints, evenly spaced: not chosen by result.
    covered = data.take("covered").sum(dim=1)
    rows = ((covered >= 3) & (covered <= 7)).nonzero().flatten()
    rows = rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]
    images, truth = data.take("image", rows), data.take("pose", rows)
    joints, hidden = data.take("joints_2d", rows), data.take("covered", rows)
    features = encode_images(encoder, data, rows)
    generator = generator_for(pipeline.config.seed, "picture")
    poses, _ = model.along_chain().hypotheses(features, NUM_HYPOTHESES, generator)
    figure = plt.figure(figsize=(2.2 * EXAMPLES, 7.6), dpi=100)
    for column in range(len(rows)):
        picture = figure.add_subplot(3, EXAMPLES, column + 1)
        picture.imshow(images[column].permute(1, 2, 0))
        x, y = joints[column][hidden[column]].T
        picture.plot(x, y, "x", color="white", markersize=4)
        picture.axis("off")
        centre = truth[column].mean(dim=0)
        for row, (view, azimuth) in enumerate(VIEWS.items(), 1):
            place = row * EXAMPLES + column + 1
            space = figure.add_subplot(3, EXAMPLES, place, projection="3d", proj_type="ortho")
            for hypothesis in poses[column].cpu():
                draw(space, hypothesis.numpy(), MEAN, linewidth=0.8, alpha=0.45)
            draw(space, truth[column].numpy(), TRUTH, linewidth=1.8)
            space.set(
                xlim=(centre[0] - 0.8, centre[0] + 0.8),
                ylim=(centre[2] - 0.8, centre[2] + 0.8),
                zlim=(-centre[1] - 1.0, -centre[1] + 1.0),
            )
            space.set_box_aspect((1, 1, 1.25), zoom=1.25)
            space.view_init(elev=0, azim=azimuth)
            space.set(xticks=[], yticks=[], zticks=[])
            if column == 0:
                space.text2D(0.02, 0.95, view, transform=space.transAxes, fontsize=8)
    figure.suptitle(
        "occluded image (× covered joint), true pose (black), eight hypotheses (orange)", y=0.97
    )
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.92, 0.02, 0.02)
    target = Path(__file__).with_name("result.png")
    figure.savefig(target)
    print(f"{target}: images {rows.tolist()} of the occluded test split")


if __name__ == "__main__":
    main()
