"""Who takes part in a protocol: any predictor, under the names that its rows bear.

A rival is one more `Contender`: an object with `predict(images, generator, num_hypotheses)`
(`predictors`), and its names. What is no predictor, for it needs more than the picture (a mean
pose for each camera) or less (the tokenizer, which is given the truth), stands in `references`.
"""

from typing import NamedTuple

import torch

from di2pose_lib.base.metrics import mpjpe_mm
from di2pose_lib.evaluation import baselines, estimators
from di2pose_lib.evaluation.measure import (
    DI2POSE,
    MEAN_POSE,
    NEIGHBOUR,
    RECONSTRUCTION,
    TOKENIZER,
    Prediction,
)
from di2pose_lib.evaluation.predictors import IMAGES, IMAGES_AT_ONCE, FeaturePredictor

HYPOTHESES = 8  # of each image, where uncertainty is asked for
SAMPLES = 4  # for the mean and the best of samples


class Contender(NamedTuple):
    """A predictor in the protocols."""

    method: str
    estimator: str
    """Of the first hypothesis. One that begins with "one sample" is of a method that samples: its
    rest also ends the names of the mean of its samples and of the samples together."""
    predictor: object
    samples: int = 1
    """Hypotheses of each image: 1, or at least `SAMPLES` for a mean of samples."""
    looked_into: int = 1
    """The same where uncertainty is asked for."""
    in_detail: bool = False
    """Whether its errors are told joint by joint and in every convention."""
    takes: str = IMAGES
    """`IMAGES`, or `JOINTS_2D` for a lifter (`predictors`): it is given where the joints are in
    the picture, but for those that occluders, masks or crops hide."""

    @property
    def manner(self):
        """How samples are drawn, as their names end: "", ", Algorithm 2, 25 steps"."""
        return self.estimator.removeprefix(estimators.ONE_SAMPLE)

    def set_of(self, count):
        """The name of several samples together: "8 samples, Algorithm 2, 25 steps"."""
        return f"{count} samples{self.manner}"


def di2pose_contenders(encoder, model):
    """Di2Pose by each estimator of a `PoseModel`.

    Where its sampler leaves the chain of Eq. 9, Algorithm 2 stands beside it: one sample of each
    image, for it takes many steps, and more where uncertainty is asked for.
    """

    def own(estimator, samples=1, looked_into=1, in_detail=False):
        predictor = FeaturePredictor(encoder, model, estimator)
        return Contender(DI2POSE, estimator, predictor, samples, looked_into, in_detail)

    found = [
        own(estimators.ONE_SAMPLE, SAMPLES, HYPOTHESES, model.follows_chain),
        own(estimators.ARGMAX),
        own(estimators.SOFT, in_detail=True),
    ]
    if not model.follows_chain:
        chain = FeaturePredictor(encoder, model.along_chain(), estimators.ONE_SAMPLE)
        found.append(Contender(DI2POSE, estimators.CHAIN, chain, 1, HYPOTHESES, True))
    return tuple(found)


def answers(contender, poses, truth):
    """`Prediction`s that a contender's hypotheses stand for.

    The first hypothesis; with enough of them the mean of `SAMPLES`, and the best of these, which
    uses the answer (once: of a method's plain samples).

    Args:
        contender: a `Contender`.
        poses: its hypotheses, float (n, H, J, 3), metres.
        truth: true joints, float (n, J, 3), metres.
    """
    method, manner = contender.method, contender.manner
    found = [Prediction(method, contender.estimator, poses[:, 0])]
    if poses.shape[1] >= SAMPLES:
        few = poses[:, :SAMPLES]
        found.append(Prediction(method, f"{estimators.MEAN}{manner}", few.mean(dim=1)))
        if not manner:
            errors = mpjpe_mm(few.flatten(0, 1), truth.repeat_interleave(SAMPLES, dim=0))
            nearest = errors.unflatten(0, (-1, SAMPLES)).argmin(dim=1)
            found.append(Prediction(method, estimators.BEST, few[torch.arange(len(few)), nearest]))
    return found


class References:
    """What errors are compared with: baselines, and the tokenizer without any picture.

    Args:
        train: the training split.
        train_features: `rows -> features` of its images.
        encoder: the frozen `ImageEncoder`.
        tokenizer: a `PoseTokenizer`.
    """

    def __init__(self, train, train_features, encoder, tokenizer):
        self.train, self.train_features = train, train_features
        self.encoder, self.tokenizer = encoder, tokenizer

    @torch.no_grad()
    def of_images(self, images, camera_position):
        """The baselines' `Prediction`s for images uint8 (n, 3, h, w).

        Args:
            camera_position: float (n, 3), metres, which the mean pose is chosen by.
        """
        where = next(self.encoder.parameters()).device
        parts = [self.encoder(part.to(where)).cpu() for part in images.split(IMAGES_AT_ONCE)]
        pose, position = self.train.take("pose"), self.train.take("camera_position")
        mean = baselines.mean_pose_per_camera(pose, position, camera_position)
        nearest = baselines.nearest_neighbour(
            self.train_features, len(self.train), torch.cat(parts)
        )
        return [
            Prediction(MEAN_POSE, "mean", mean),
            Prediction(NEIGHBOUR, "copy", pose[nearest]),
        ]

    @torch.no_grad()
    def of_truth(self, truth):
        """What the tokenizer makes of the true poses: the least error of any token."""
        where = next(self.encoder.parameters()).device
        return [Prediction(TOKENIZER, RECONSTRUCTION, self.tokenizer(truth.to(where)).cpu())]
