"""The one interface of the protocols: images to poses.

A predictor is any object with

    predict(images, generator, num_hypotheses) -> poses

where `images` are uint8 (B, 3, h, w), RGB; `generator` is a torch.Generator, or a list of B
int seeds: then what image i draws depends on its seed alone; `poses` are float32
(B, H, J, 3), root-relative, metres, camera frame, on the CPU. A point estimator gives H
equal poses. A **lifter** is the same but for what it is given: 2D joints, float (B, J, 2),
pixels, in the place of the images; a joint that is hidden lies at the image's centre.
"""

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.seeding import image_seeds
from di2pose_lib.evaluation.estimators import ARGMAX, MEAN, ONE_SAMPLE, SOFT

IMAGES, JOINTS_2D = "images", "joints_2d"  # what a predictor takes
GIVEN = {IMAGES: (("B", 3, "h", "w"), "uint8"), JOINTS_2D: (("B", "J", 2), "float")}
IMAGES_AT_ONCE = 128  # through the encoder; their features are the largest tensors kept

ESTIMATORS = (ONE_SAMPLE, ARGMAX, MEAN, SOFT)  # "best of samples" uses the answer


def predicted(predictor, given, generator, num_hypotheses, takes=IMAGES):
    """`predictor.predict(given, generator, num_hypotheses)`, its question and answer checked.

    Args:
        given: images uint8 (B, 3, h, w); or 2D joints float (B, J, 2).
        takes: `IMAGES` or `JOINTS_2D`: which of them.

    Returns:
        float32 (B, H, J, 3), metres.

    Raises:
        ValueError: images or joints of another kind or shape, H < 1, seeds of another number,
            or poses of another shape or kind.
    """
    require(takes in GIVEN, f"`takes` must be one of {', '.join(GIVEN)}; got {takes!r}")
    batch = check_tensor(takes, given, *GIVEN[takes])["B"]
    require(num_hypotheses >= 1, f"`num_hypotheses` must be at least 1; got {num_hypotheses}")
    if not isinstance(generator, torch.Generator):
        image_seeds(generator, batch)
    poses = predictor.predict(given, generator, num_hypotheses)
    check_tensor("predicted poses", poses, (batch, num_hypotheses, "J", 3), "float")
    return poses


class FeaturePredictor:
    """Frozen image encoder, `PoseModel` and one named estimator, as a predictor.

    Memory is bounded, whatever B and H are. The last bits of a pose may depend on the number
    of images predicted together, as those of any matrix product do.

    Args:
        encoder: a frozen `ImageEncoder`.
        model: a `PoseModel` on the same device.
        estimator: one of `ESTIMATORS`. "one sample" gives H hypotheses; the others are point
            estimators.
        samples: how many hypotheses "mean of samples" averages; the others take no notice.

    Raises:
        ValueError: another estimator, samples < 1, or soft decoding of a chain that never
            occludes.
    """

    def __init__(self, encoder, model, estimator=SOFT, samples=4):
        require(
            estimator in ESTIMATORS,
            f"`estimator` must be one of {', '.join(ESTIMATORS)}; got {estimator!r}",
        )
        require(samples >= 1, f"`samples` must be at least 1; got {samples}")
        rate = model.schedule.final_occlude_rate
        require(
            estimator != SOFT or rate > 0,
            f"soft decoding needs `final_occlude_rate` > 0; got {rate}",
        )
        self.encoder, self.model = encoder, model
        self.estimator, self.samples = estimator, samples

    @torch.no_grad()
    def predict(self, images, generator, num_hypotheses):
        """Poses float32 (B, H, J, 3) of images uint8 (B, 3, h, w); see the module.

        Raises:
            ValueError: images of another size than the encoder's, H < 1, or a list of seeds of
                another length.
        """
        check_tensor("images", images, ("B", 3, *self.encoder.image_size), "uint8")
        seeds = image_seeds(generator, len(images))
        where = next(self.encoder.parameters()).device
        parts = [
            self.from_features(
                self.encoder(images[first : first + IMAGES_AT_ONCE].to(where)),
                seeds[first : first + IMAGES_AT_ONCE],
                num_hypotheses,
            )
            for first in range(0, len(images), IMAGES_AT_ONCE)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def from_features(self, features, generator, num_hypotheses):
        """The same from features float (B, tokens, width) that the encoder gave before."""
        require(num_hypotheses >= 1, f"`num_hypotheses` must be at least 1; got {num_hypotheses}")
        seeds = image_seeds(generator, len(features))
        if self.estimator == ONE_SAMPLE:
            return self.model.hypotheses(features, num_hypotheses, seeds)[0].float().cpu()
        if self.estimator == SOFT:
            pose = self.model.soft_decode(features)
        elif self.estimator == ARGMAX:
            pose = self.model.hypotheses(features, 1, seeds)[1]
        else:
            pose = self.model.hypotheses(features, self.samples, seeds)[0].mean(dim=1)
        return pose.float().cpu()[:, None].expand(-1, num_hypotheses, -1, -1).contiguous()
