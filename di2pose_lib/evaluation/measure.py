"""Stage 06: errors on unseen subjects, clean and with occluders, with intervals."""

from typing import NamedTuple

import torch

from di2pose_lib.base.metrics import MM_PER_M, joint_errors_mm, procrustes
from di2pose_lib.base.progress import Progress
from di2pose_lib.base.seeding import generator_for, seed_for
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation import baselines, estimators
from di2pose_lib.evaluation.statistics import cluster_bootstrap

CONDITIONS = {"clean": "test", "occluders": "test_occluded"}  # occlusion -> prepared split

DI2POSE, EXCHANGED = "Di2Pose", "images shuffled"
SHUFFLED = f"{DI2POSE}, {EXCHANGED}"
MEAN_POSE, NEIGHBOUR = "mean pose per camera", "nearest training neighbour"
TOKENIZER, RECONSTRUCTION = "tokenizer", "reconstruction of the truth"

# Test actions of motion capture of which training holds many trials; dance, of which it holds
# few, is reported apart.
SEEN_ACTIONS = ("walk", "run", "jump")
FEW_SUBJECTS = 10  # below, intervals resample recordings, for subjects are too few


class Prediction(NamedTuple):
    """Poses (n, J, 3) that a method's estimator gives for the images of a split."""

    method: str
    estimator: str
    pose: torch.Tensor


def predict(model, encoder, dataset, train, train_features, settings, seed, occlusion):
    """Every method's and estimator's `Prediction` for one split.

    Args:
        model: a `PoseModel`.
        encoder: the frozen `ImageEncoder`.
        dataset: the test split.
        train: the training split, for the baselines.
        train_features: `rows -> features` of the training images.
        settings: an `EvaluationConfig`.
        seed: int.
        occlusion: name of the condition, for the random draws.
    """
    truth = dataset.take("pose")
    where = next(encoder.parameters()).device
    batches = torch.arange(len(dataset)).split(settings.batch_size)
    features = torch.cat([encode_images(encoder, dataset, rows).cpu() for rows in batches])

    def estimates(method, features, num_hypotheses):
        return predict_from_features(
            model, method, features, truth, settings, num_hypotheses, seed, occlusion, where
        )

    train_pose, position = train.take("pose"), train.take("camera_position")
    mean = baselines.mean_pose_per_camera(train_pose, position, dataset.take("camera_position"))
    nearest = baselines.nearest_neighbour(train_features, len(train), features)
    tokens = model.tokenizer.encode(truth.to(where))
    predictions = [
        Prediction(MEAN_POSE, "mean", mean),
        Prediction(NEIGHBOUR, "copy", train_pose[nearest]),
        *estimates(DI2POSE, features, settings.num_hypotheses),
    ]
    if not model.follows_chain:
        predictions.append(
            predict_along_chain(model, DI2POSE, features, settings, seed, occlusion, where)
        )
    if occlusion == "clean":
        # The proof that the picture is used: with another of the split's it must not help.
        # One sample will do; "mean" and "best" of one would be that sample again.
        shuffled = estimates(SHUFFLED, features.roll(len(features) // 2, dims=0), 1)
        predictions += [
            p for p in shuffled if p.estimator in (estimators.ONE_SAMPLE, estimators.SOFT)
        ]
        rebuilt = model.tokenizer.decode(tokens).cpu()
        predictions.append(Prediction(TOKENIZER, RECONSTRUCTION, rebuilt))
    return predictions


def predict_from_features(
    model, method, features, truth, settings, num_hypotheses, seed, occlusion, where
):
    """Each estimator's `Prediction` by a `PoseModel` for image features (n, tokens, width).

    `truth` (n, J, 3) serves the upper bound "best of samples" alone; `where` is the device of
    the model; the other arguments are those of `predict`.
    """
    parts, progress = {}, Progress(f"{method}, {occlusion}", len(features))
    for rows in torch.arange(len(features)).split(settings.batch_size):
        seeds = _seeds(seed, method, occlusion, rows)
        poses = model.estimates(
            features[rows].to(where), truth[rows].to(where), num_hypotheses, seeds
        )
        for estimator, pose in poses.items():
            parts.setdefault(estimator, []).append(pose.cpu())
        progress.tick(int(rows[-1]) + 1)
    progress.report(len(features), {})
    return [Prediction(method, name, torch.cat(part)) for name, part in parts.items()]


def predict_along_chain(model, method, features, settings, seed, occlusion, where):
    """`Prediction` of one sample along the chain of Eq. 9, however the model's sampler is set.

    Arguments as in `predict_from_features`.
    """
    chain, parts = model.along_chain(), []
    progress = Progress(f"{method}, {occlusion}, {estimators.CHAIN}", len(features))
    for rows in torch.arange(len(features)).split(settings.batch_size):
        seeds = _seeds(seed, method, occlusion, rows)
        parts.append(chain.hypotheses(features[rows].to(where), 1, seeds)[0][:, 0].cpu())
        progress.tick(int(rows[-1]) + 1)
    progress.report(len(features), {})
    return Prediction(method, estimators.CHAIN, torch.cat(parts))


def _seeds(seed, method, occlusion, rows):
    return [seed_for(seed, "evaluation", method, occlusion, row) for row in rows.tolist()]


def poses_by_method(predictions):
    """{occlusion: {(method, estimator): pose}} of {occlusion: `Prediction`s}."""
    return {
        occlusion: {(p.method, p.estimator): p.pose for p in found}
        for occlusion, found in predictions.items()
    }


def joint_errors(pose_pred, pose):
    """{metric: error of each joint, float64 (n, J), mm}.

    PA-MPJPE is aligned over all joints, also where a subset of them is averaged.
    """
    aligned = procrustes(pose_pred, pose)
    return {
        "mpjpe_mm": joint_errors_mm(pose_pred, pose),
        "pa_mpjpe_mm": (aligned - pose.double()).norm(dim=-1) * MM_PER_M,
    }


def clusters_of(dataset):
    """(what is resampled, its number for each image): subjects, or recordings where few.

    Intervals over the recordings of two people speak of these two, not of people.
    """
    kind = "subject" if len(dataset.subjects) >= FEW_SUBJECTS else "recording"
    return kind, dataset.take(kind).long()


def cluster_names(dataset, config):
    """The name of each image's cluster, n strings: "recording 7", "person 3-12" of seed 3.

    Synthetic people are drawn anew with each seed; captured ones are the same in all.
    """
    kind, numbers = clusters_of(dataset)
    drawn = f"{config.seed}-" if config.data.source == "synthetic" else ""
    word = "person" if kind == "subject" else kind
    return [f"{word} {drawn}{number}" for number in numbers.tolist()]


def action_groups(dataset, source):
    """{name: images (n,) bool} of the groups of actions that are reported."""
    names = dataset.action_names()
    groups = {name: torch.tensor([n == name for n in names]) for name in sorted(set(names))}
    if source == "mocap":
        groups["seen in training"] = torch.tensor([n in SEEN_ACTIONS for n in names])
    return groups


def evaluation_rows(prediction, dataset, occlusion, config):
    """Rows of evaluation.json for one `Prediction`, without data and scale.

    For every metric: over all, visible and occluded joints (mean over frames); over all
    joints also the mean of action means and each action.
    """
    visible = dataset.take("visible")
    masks = {"all": torch.ones_like(visible), "visible": visible, "occluded": ~visible}
    _, clusters = clusters_of(dataset)
    action = dataset.take("action").long()
    rows = []
    for metric, errors in joint_errors(prediction.pose, dataset.take("pose")).items():

        def add(joints, action_name, images, groups=None, metric=metric, errors=errors):
            mask = masks[joints] & images[:, None]
            kept = mask.any(dim=1)
            if not kept.any():
                return
            values = (errors * mask).sum(dim=1)[kept] / mask.sum(dim=1)[kept]
            generator = generator_for(config.seed, "bootstrap")
            interval = cluster_bootstrap(
                values,
                clusters[kept],
                config.evaluation.bootstrap_samples,
                generator,
                None if groups is None else groups[kept],
            )
            rows.append(
                {
                    "method": prediction.method,
                    "estimator": prediction.estimator,
                    "occlusion": occlusion,
                    "joints": joints,
                    "action": action_name,
                    "metric": metric,
                    "mean": interval.mean,
                    "ci95_low": interval.low,
                    "ci95_high": interval.high,
                    "seeds": 1,
                    "n": int(kept.sum()),
                }
            )

        everything = torch.ones(len(dataset), dtype=torch.bool)
        for joints in masks:
            add(joints, "all", everything)
        add("all", "mean of actions", everything, action)
        for name, images in action_groups(dataset, config.data.source).items():
            add("all", name, images)
    return rows


def find(rows, **wanted):
    """The one row with these fields; joints and action default to "all".

    Raises:
        ValueError: none, or more than one.
    """
    wanted = {"joints": "all", "action": "all", "metric": "mpjpe_mm", **wanted}
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    if len(found) != 1:
        raise ValueError(f"one row must have {wanted}; got {len(found)}")
    return found[0]


def summary(rows):
    """The few numbers for `dvc metrics show`: MPJPE in mm over all joints.

    Algorithm 2's sample is there where the sampler is set otherwise.
    """
    wanted = {
        "mean_pose": (MEAN_POSE, "mean"),
        "nearest_neighbour": (NEIGHBOUR, "copy"),
        "one_sample": (DI2POSE, estimators.ONE_SAMPLE),
        "one_sample_algorithm_2": (DI2POSE, estimators.CHAIN),
        "argmax": (DI2POSE, estimators.ARGMAX),
        "mean_of_samples": (DI2POSE, estimators.MEAN),
        "soft_decoding": (DI2POSE, estimators.SOFT),
    }
    measured = {row["estimator"] for row in rows}
    return {
        f"{occlusion}_{key}_mpjpe_mm": find(
            rows, method=method, estimator=estimator, occlusion=occlusion
        )["mean"]
        for occlusion in CONDITIONS
        for key, (method, estimator) in wanted.items()
        if estimator in measured
    }
