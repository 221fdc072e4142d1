"""The claims of both papers, each a sentence and a function of the table that decides it.

A function takes the rows of one data source and gives an `Effect`: how much speaks for the claim,
above 0 where it holds, with its interval. paper/claims.csv says where the paper claims it, in
which words, and how we check it.
"""

from di2pose_lib.evaluation import estimators
from di2pose_lib.evaluation.models import DI2POSE, MEAN_POSE
from di2pose_lib.evaluation.plausibility import GROUND_TRUTH
from di2pose_lib.evaluation.visibility import COVERED, SEEN
from studies.effects import (
    CLEAN,
    FRESH_40,
    FRESH_80,
    MEAN_OF_ACTIONS,
    OCCLUDERS,
    OUT_OF_SCOPE,
    QUOTED,
    UNHIT,
    better,
    change,
    codes_used,
    contrast,
    equation,
    error,
    favourite,
    largest_rise,
    left_of,
    minus,
    not_here,
    scaled,
    slow_steps,
    table_6_average,
    values_of_tanh,
    within,
)

SPREAD = {"estimator": f"8 samples, {estimators.ALGORITHM_2}", "metric": "spread_mm"}


def rise(df, **wanted):
    """What occluders add to a measurement."""
    return change(df, OCCLUDERS, CLEAN, **wanted)


def harder(df, action, other, **whose):
    """An action's error is above another's."""
    first, second = (
        error(df, study="actions", action=each, **CLEAN, **whose) for each in (action, other)
    )
    return minus(first, second)


def rare_actions(df):
    """Dance is harder than the actions seen in training, by more than it is for the mean pose."""
    mean_pose = harder(df, "dance", "walk", method=MEAN_POSE, estimator="mean")
    return minus(harder(df, "dance", "walk"), mean_pose, "; more than")


def plausible_tokens(df):
    """Samples bend a joint beyond its limits at most one point more often than the truth."""
    truth = {"method": GROUND_TRUTH, "estimator": ""}
    return left_of(1, change(df, {}, truth, **CLEAN, metric="poses_beyond_limits_percent"))


def plausible_occluded(df):
    """Bones of samples are at most a tenth worse with occluders than without."""
    allowed = scaled(error(df, **CLEAN, metric="bone_error_mm"), 0.1)
    more = rise(df, metric="bone_error_mm")
    return minus(allowed, more)._replace(measure=f"what is left of 10 %: {more.measure}")


CLAIMS = {  # id: (sentence, function of the table)
    "accuracy": (
        "Di2Pose is more exact than DiffPose, the best diffusion model, on Human3.6M",
        lambda df: better(df, DI2POSE, "DiffPose", **CLEAN),
    ),
    "accuracy-aligned": (
        "Di2Pose has the lowest PA-MPJPE of all compared methods on Human3.6M",
        table_6_average,
    ),
    "accuracy-wild": (
        "Di2Pose is more exact than DiffPose on 3DPW, a data set it may not have been trained on",
        lambda df: better(df, DI2POSE, "DiffPose", **CLEAN),
    ),
    "accuracy-wild-aligned": (
        "Di2Pose is more exact than DiffPose on 3DPW after alignment too",
        lambda df: better(df, DI2POSE, "DiffPose", **CLEAN, metric="pa_mpjpe_mm"),
    ),
    "classifier": (
        "Drawing the tokens by diffusion beats classifying them (PCT), which takes no account of "
        "occlusion",
        lambda df: better(df, DI2POSE, "PCT", **OCCLUDERS),
    ),
    "occlusion-set": (
        "Di2Pose keeps its lead on the occluded images of 3DPW-Occ",
        lambda df: better(df, DI2POSE, "DiffPose", **OCCLUDERS),
    ),
    "occlusion-drop": (
        "Under adversarial patches no method's MPJPE rises by more than 129 %",
        lambda df: largest_rise(df, "mpjpe", 129),
    ),
    "occlusion-drop-aligned": (
        "Under adversarial patches no method's PA-MPJPE rises by more than 72 %",
        lambda df: largest_rise(df, "pa", 72),
    ),
    "occlusion-adversarial": (
        "Di2Pose loses less than DiffPose to the worst patch of 80 pixels",
        lambda df: better(df, DI2POSE, "DiffPose", FRESH_80, UNHIT, study="advocc"),
    ),
    "occlusion-adversarial-40": (
        "Di2Pose loses less than DiffPose to the worst patch of 40 pixels",
        lambda df: better(df, DI2POSE, "DiffPose", FRESH_40, UNHIT, study="advocc"),
    ),
    "occlusion-object": (
        "Di2Pose estimates joints behind objects more exactly than DiffPose",
        lambda df: better(df, DI2POSE, "DiffPose", **OCCLUDERS, joints="occluded"),
    ),
    "occlusion-self": (
        "Di2Pose estimates joints behind the body itself more exactly than DiffPose",
        lambda df: better(df, DI2POSE, "DiffPose", **CLEAN, joints="occluded"),
    ),
    "latent-occlusion": (
        "Occluding tokens in training teaches the model to bear occluded images",
        lambda df: contrast(
            df, "occlusion", "occluders cost less with occluded tokens, plain pictures"
        ),
    ),
    "no-augmentation": (
        "Occlusion in token space takes the place of occluders in the training images",
        lambda df: left_of(
            5, contrast(df, "occlusion", "occluded pictures in training help, with occluded tokens")
        ),
    ),
    "failures": (
        "Di2Pose fails where much of the body is covered",
        lambda df: minus(rise(df, joints=COVERED), rise(df, joints=SEEN), "; more than"),
    ),
    "plausible-tokens": ("Decoding tokens confines poses to plausible ones", plausible_tokens),
    "plausible-occluded": ("Poses stay plausible under occlusion", plausible_occluded),
    "implausible-continuous": (
        "Diffusion over coordinates makes less plausible poses than diffusion over tokens",
        lambda df: better(df, DI2POSE, "DiffPose", **OCCLUDERS, metric="bone_error_mm"),
    ),
    "uncertainty": ("The model's uncertainty grows with occlusion", lambda df: rise(df, **SPREAD)),
    "diversity": (
        "Poses drawn for an occluded part of the body take several shapes",
        lambda df: rise(df, **SPREAD, joints=COVERED),
    ),
    "tokenizer": (
        "Di2Pose's tokenizer reconstructs poses more exactly than PCT's",
        lambda df: favourite(df, "4", "PCT's: mixer, 34 tokens, 2048 learned codes"),
    ),
    "local-blocks": (
        "Local-MLP blocks are better than the MLP-Mixer's, which mix all joints",
        lambda df: favourite(df, "4", "mixer, 51 tokens, FSQ"),
    ),
    "local-joints": (
        "Joint Shift over three joints reconstructs best",
        lambda df: favourite(df, "3a"),
    ),
    "local-interactions": (
        "Mixing neighbouring joints is better than mixing none",
        lambda df: favourite(df, "3a", "X = 1"),
    ),
    "levels": ("Levels [7, 5, 5, 5, 5] reconstruct best", lambda df: favourite(df, "3b")),
    "codebook": (
        "FSQ keeps more of its codes in use than a learned codebook, even one whose dead codes "
        "are revived",
        lambda df: codes_used(
            df,
            "4",
            "mixer, 34 tokens, FSQ of 2048 codes",
            "PCT's: mixer, 34 tokens, 2048 learned codes",
        ),
    ),
    "values": ("Rounding ⌊L/2⌋ · tanh gives L values a channel", values_of_tanh),
    "both": (
        "Occlude and replace together are better than either alone",
        lambda df: favourite(df, "5"),
    ),
    "occlude-alone": (
        "Occlude alone is worse, for it neglects visible parts",
        lambda df: favourite(df, "5", "occlude"),
    ),
    "replace-alone": (
        "Replace alone is worse, for random sub-structures are hard to undo",
        lambda df: favourite(df, "5", "replace"),
    ),
    "occlude-rate": ("A final occlude rate of 0.9 is best", lambda df: favourite(df, "3c")),
    "more-steps": (
        "More steps in training and inference are better",
        lambda df: favourite(df, "3d"),
    ),
    "few-steps": (
        "A quarter of the inference steps costs little",
        lambda df: within(df, 5, "3d", "S = 100, run in 25", "S = 100, run in 100"),
    ),
    "closed-form": (
        "All steps so far have a closed form that stores no matrices",
        lambda df: equation(df, "closed_form_max_error"),
    ),
    "schedule": (
        "The rates are linear in the step, to 0.1 and 0.9",
        lambda df: equation(df, "configured_chain_max_error"),
    ),
    "bound": ("The loss is the variational bound", lambda df: equation(df, "bound_max_error")),
    "data": (
        "With less training data DiffPose gets worse faster than Di2Pose",
        lambda df: not_here(df, QUOTED, "DiffPose is not implemented here"),
    ),
    "runtime": ("A diffusion model takes longer than one that needs a single pass", slow_steps),
    "hipart-mask": (
        "HiPART is better than DiffPose with 0.8 of the image masked",
        lambda df: better(df, "HiPART", "DiffPose", occlusion="mask", level=0.8),
    ),
    "hipart-crop": (
        "HiPART is better than DiffPose with 0.4 of the image cropped",
        lambda df: better(df, "HiPART", "DiffPose", occlusion="crop", level=0.4),
    ),
    "hipart-robust-mask": (
        "HiPART's error rises less than DiffPose's when more of the image is masked",
        lambda df: better(df, "HiPART", "DiffPose", {"occlusion": "mask", "level": 0.8}, CLEAN),
    ),
    "hipart-robust-crop": (
        "HiPART's error rises less than DiffPose's when more of the image is cropped",
        lambda df: better(df, "HiPART", "DiffPose", {"occlusion": "crop", "level": 0.4}, CLEAN),
    ),
    "hipart-accuracy": (
        "HiPART is more exact than diffusion models",
        lambda df: better(df, "HiPART", "DiffPose", **CLEAN),
    ),
    "hipart-speed": (
        "HiPART is faster than diffusion models",
        lambda df: not_here(df, QUOTED, "HiPART is not implemented here"),
    ),
    "di2pose-slow": ("Di2Pose is slow, for it takes many sampling steps", slow_steps),
    "pct-classifier": (
        "Classifying tokens does not capture their distribution; diffusion over them is more exact",
        lambda df: better(df, DI2POSE, "PCT", **CLEAN),
    ),
    "dense-joints": (
        "True dense 2D joints beside the 17 lower the error of lifting",
        lambda df: better(df, "HiPART, true dense joints", "HiPART, true sparse joints", **CLEAN),
    ),
    "densification": (
        "HiPART's dense 2D joints are more exact than those of Pose2Mesh, HGN and PCT",
        lambda df: not_here(df, QUOTED, "another method"),
    ),
    "hard-actions": (
        "Actions with more occlusion are harder: sitting",
        lambda df: harder(df, "Sitting", MEAN_OF_ACTIONS),
    ),
    "hipart-blocks": (
        "Four encoder blocks and twelve global ones are enough",
        lambda df: better(df, "HiPART", "HiPART, 5 and 16 blocks", **CLEAN),
    ),
    "hipart-width": (
        "Width 128 is best",
        lambda df: better(df, "HiPART", "HiPART, width 256", **CLEAN),
    ),
    "hipart-dense-occluded": (
        "Where 3DPW hides joints HiPART stays robust and DiffPose does not",
        lambda df: better(df, "HiPART", "DiffPose", OCCLUDERS, CLEAN, joints="occluded"),
    ),
    "hipart-failures": ("HiPART fails on motions that training lacks", rare_actions),
    "hipart-failures-occluded": (
        "HiPART fails under severe occlusion",
        lambda df: minus(error(df, occlusion="mask", level=0.8), error(df, **CLEAN)),
    ),
    "hipart-sequence": (
        "HiPART is best with single frames and with sequences",
        lambda df: not_here(df, OUT_OF_SCOPE),
    ),
    "hipart-temporal": (
        "HiPART is fastest and most exact together with MixSTE",
        lambda df: not_here(df, OUT_OF_SCOPE),
    ),
}
