"""Models: anything that predicts poses, and the names that its rows have.

A model answers `predict(given, seeds, num_hypotheses) -> poses`: `poses` are float32 (n, H, J, 3),
root-relative, metres, camera frame; what is drawn for image i depends on seed i alone. A point
estimator gives H equal poses. What it is `given` of the pictures is one of `GIVEN`: the images, or
what the frozen encoder makes of them, which is made once for all models. A **lifter** takes 2D
joints instead; a joint that is hidden lies at the image's centre.
"""

from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.metrics import mpjpe_mm
from di2pose_lib.base.seeding import image_seeds
from di2pose_lib.evaluation import baselines
from di2pose_lib.evaluation.estimators import ARGMAX, BEST, CHAIN, MEAN, ONE_SAMPLE, SOFT

DI2POSE, MEAN_POSE, NEIGHBOUR = "Di2Pose", "mean pose per camera", "nearest training neighbour"
TOKENIZER, RECONSTRUCTION = "tokenizer", "reconstruction of the truth"

IMAGES, FEATURES, JOINTS_2D = "images", "features", "joints_2d"
CAMERA, TRUTH = "camera_position", "pose"
GIVEN = {  # their shapes and types
    IMAGES: (("n", 3, "h", "w"), "uint8"),
    FEATURES: (("n", "tokens", "width"), "float"),
    JOINTS_2D: (("n", "J", 2), "float"),
    CAMERA: (("n", 3), "float"),
    TRUTH: (("n", "J", 3), "float"),
}
IMAGES_AT_ONCE = 128  # through the encoder; their features are the largest tensors kept
ESTIMATORS = (ONE_SAMPLE, ARGMAX, MEAN, SOFT)  # "best of samples" uses the answer


class Model(NamedTuple):
    """Who predicts, and what is asked of it."""

    method: str
    estimator: str
    """Of the first hypothesis. One that begins with "one sample" is of a method that samples: what
    follows is appended to the names of the mean of its samples and of the samples together."""
    predict: object
    """`predict(given, seeds, num_hypotheses)`, as the module says."""
    takes: str = FEATURES
    """A key of `GIVEN`."""
    samples: int = 1
    """Hypotheses of each image; with more than one, their mean is an estimator too."""
    hypotheses: int = 1
    """The same where uncertainty is asked for."""
    in_detail: bool = False
    """Whether its errors are reported joint by joint and in every convention."""
    wants_all: bool = False
    """Whether it is asked once, for all pictures together: a search through all training images
    for each batch would take long."""
    sees_pictures: bool = True
    """False: it answers the same whatever hides the body, so once is enough."""

    @property
    def sampler(self):
        """How samples are drawn, as their names end: "", ", Algorithm 2, 25 steps"."""
        return self.estimator.removeprefix(ONE_SAMPLE)

    def set_of(self, count):
        """The name of several samples together: "8 samples, Algorithm 2, 25 steps"."""
        return f"{count} samples{self.sampler}"


class Prediction(NamedTuple):
    """Poses (n, J, 3) that a method's estimator gives for n images."""

    method: str
    estimator: str
    pose: torch.Tensor


def predicted(predict, given, seeds, num_hypotheses, takes=IMAGES):
    """`predict(given, seeds, num_hypotheses)`, its question and answer checked.

    Args:
        given: what `takes`, a key of `GIVEN`, says, of n images.
        seeds: a list of n ints.

    Returns:
        float32 (n, H, J, 3), metres.

    Raises:
        ValueError: something else is given, H < 1, seeds of another number, or poses of another
            shape or kind.
    """
    require(takes in GIVEN, f"`takes` must be one of {', '.join(GIVEN)}; got {takes!r}")
    count = check_tensor(takes, given, *GIVEN[takes])["n"]
    require(num_hypotheses >= 1, f"`num_hypotheses` must be at least 1; got {num_hypotheses}")
    poses = predict(given, image_seeds(seeds, count), num_hypotheses)
    check_tensor("predicted poses", poses, (count, num_hypotheses, "J", 3), "float")
    return poses


def answers(model, poses, truth, few=None):
    """`Prediction`s that a model's hypotheses stand for.

    The first hypothesis; of several the mean, and the best of these, which uses the answer (once:
    of a method's plain samples).

    Args:
        model: a `Model`.
        poses: its hypotheses, float (n, H, J, 3), metres.
        truth: true joints, float (n, J, 3), metres.
        few: how many are averaged, at most; None takes all.

    Raises:
        ValueError: several hypotheses of a model whose estimator is not one sample.
    """
    predictions = [Prediction(model.method, model.estimator, poses[:, 0])]
    if poses.shape[1] > 1:
        wanted = f"the estimator of a model that samples must begin with {ONE_SAMPLE!r}"
        require(model.estimator.startswith(ONE_SAMPLE), f"{wanted}; got {model.estimator!r}")
        poses = poses[:, :few]
        mean = Prediction(model.method, f"{MEAN}{model.sampler}", poses.mean(dim=1))
        predictions.append(mean)
        if not model.sampler:
            each = truth.repeat_interleave(poses.shape[1], dim=0)
            errors = mpjpe_mm(poses.flatten(0, 1), each).unflatten(0, poses.shape[:2])
            nearest = poses[torch.arange(len(poses)), errors.argmin(dim=1)]
            predictions.append(Prediction(model.method, BEST, nearest))
    return predictions


class ImageModel:
    """Frozen image encoder, `PoseModel` and one named estimator: from images to poses.

    Memory is bounded, whatever n and H are. The last bits of a pose may depend on the number
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
    def predict(self, images, seeds, num_hypotheses):
        """Poses float32 (n, H, J, 3), on the CPU, of images uint8 (n, 3, h, w); see the module.

        Args:
            seeds: a list of n ints, or a torch.Generator that draws them.

        Raises:
            ValueError: images of another size than the encoder's, H < 1, or a list of seeds of
                another length.
        """
        check_tensor("images", images, ("n", 3, *self.encoder.image_size), "uint8")
        seeds, where = image_seeds(seeds, len(images)), next(self.encoder.parameters()).device
        parts = [
            self.of_features(
                self.encoder(images[first : first + IMAGES_AT_ONCE].to(where)),
                seeds[first : first + IMAGES_AT_ONCE],
                num_hypotheses,
            )
            for first in range(0, len(images), IMAGES_AT_ONCE)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def of_features(self, features, seeds, num_hypotheses):
        """The same from features float (n, tokens, width) that the encoder gave before."""
        require(num_hypotheses >= 1, f"`num_hypotheses` must be at least 1; got {num_hypotheses}")
        seeds = image_seeds(seeds, len(features))
        features = features.to(next(self.encoder.parameters()).device)
        if self.estimator == ONE_SAMPLE:
            return self.model.hypotheses(features, num_hypotheses, seeds)[0].float().cpu()
        if self.estimator == SOFT:
            pose = self.model.soft_decode(features)
        elif self.estimator == ARGMAX:
            pose = self.model.hypotheses(features, 1, seeds)[1]
        else:
            pose = self.model.hypotheses(features, self.samples, seeds)[0].mean(dim=1)
        return _repeated(pose.float().cpu(), num_hypotheses)


def _repeated(pose, num_hypotheses):
    """A point estimate (n, J, 3) as H equal hypotheses."""
    return pose[:, None].expand(-1, num_hypotheses, -1, -1).contiguous()


def di2pose_models(encoder, model, samples, hypotheses=1):
    """Di2Pose by each estimator of a `PoseModel`: a tuple of `Model`s.

    Where its sampler leaves the chain of Eq. 9, Algorithm 2 stands beside it: one sample of each
    image, for it takes many steps, and more where uncertainty is asked for. A chain that never
    occludes has no soft decoding.

    Args:
        encoder: the frozen `ImageEncoder`.
        model: a `PoseModel`.
        samples, hypotheses: of each image, as in `Model`.
    """

    def named(estimator, pose_model=model, name=None, **options):
        predict = ImageModel(encoder, pose_model, estimator).of_features
        return Model(DI2POSE, name or estimator, predict, **options)

    several = {"hypotheses": hypotheses, "in_detail": model.follows_chain}
    models = [named(ONE_SAMPLE, samples=samples, **several), named(ARGMAX)]
    if model.schedule.final_occlude_rate > 0:
        models.append(named(SOFT, in_detail=True))
    if not model.follows_chain:
        chain = {"hypotheses": hypotheses, "in_detail": True}
        models.append(named(ONE_SAMPLE, model.along_chain(), CHAIN, **chain))
    return tuple(models)


def reference_models(tokenizer, train, train_features):
    """What errors are compared with: a tuple of `Model`s.

    The mean training pose of the nearest camera, the pose of the training image with the nearest
    features, and what the tokenizer makes of the truth: the least error of any token.

    Args:
        tokenizer: a `PoseTokenizer`.
        train: the training split.
        train_features: `rows -> features` of its images.
    """
    pose, position = train.take("pose"), train.take("camera_position")

    def mean_pose(camera_position, seeds, count):
        mean = baselines.mean_pose_per_camera(pose, position, camera_position)
        return _repeated(mean, count)

    def neighbour(features, seeds, count):
        nearest = baselines.nearest_neighbour(train_features, len(train), features)
        return _repeated(pose[nearest], count)

    @torch.no_grad()
    def rebuilt(truth, seeds, count):
        return _repeated(tokenizer(truth.to(next(tokenizer.parameters()).device)), count)

    return (
        Model(MEAN_POSE, "mean", mean_pose, CAMERA, wants_all=True),
        Model(NEIGHBOUR, "copy", neighbour, wants_all=True),
        Model(TOKENIZER, RECONSTRUCTION, rebuilt, TRUTH, sees_pictures=False),
    )
