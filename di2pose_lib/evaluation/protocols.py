"""What is measured of trained models under occlusion: errors, uncertainty, plausibility.

The test pictures as they are, with occluders in the scene, and in the sweeps of masks and crops
(`data.occlusions`): every occlusion has the same frames, so differences are paired. Who is tested
is a list of `Model`s.
"""

from typing import NamedTuple

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import is_there
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.data.occlusions import CROP, MASK, RATIOS
from di2pose_lib.evaluation import estimators
from di2pose_lib.evaluation.measure import action_rows, error_rows, predict, predict_shuffled
from di2pose_lib.evaluation.metric_conventions import convention_rows
from di2pose_lib.evaluation.pictures import CLEAN, OCCLUDERS, joined, pictures_of, spread_rows
from di2pose_lib.evaluation.plausibility import own_bones, plausibility_rows
from di2pose_lib.evaluation.table import read_table, write_table
from di2pose_lib.evaluation.uncertainty import LEVELS, uncertainty_rows
from di2pose_lib.evaluation.visibility import COVERED, SHARES, joint_kinds, kind_rows, share_rows

IMAGES = 220  # of the test split, at most, evenly spaced
AT_ONCE = 44  # images
SAMPLES = 4  # for the mean and the best of samples
HYPOTHESES = 8  # of each image, where uncertainty is asked for

OCCLUSIONS = (
    (CLEAN, 0.0),
    *((name, ratio) for name, ratios in RATIOS.items() for ratio in ratios if ratio > 0),
    (OCCLUDERS, 1.0),
)
# Where uncertainty and plausibility are asked for, besides errors.
CLOSELY = ((CLEAN, 0.0), (MASK, 0.4), (CROP, 0.2), (OCCLUDERS, 1.0))
# Under the other masks uncertainty alone: does it grow with what is hidden?
GROWTH = tuple((MASK, r) for r in RATIOS[MASK] if r > 0 and (MASK, r) not in CLOSELY)

NO_BODIES = (estimators.ARGMAX, estimators.BEST)  # need not look like a body


class Tested(NamedTuple):
    """Who is tested, and on what."""

    config: object
    data: dict
    """{split: PoseDataset}: test and test_occluded."""
    encoder: object
    """The frozen `ImageEncoder`, for the models that take its features."""
    models: tuple
    """`Model`s."""

    def pictures(self, occlusion, level):
        """The `Pictures` of an occlusion."""
        return pictures_of(self.data, self.config, occlusion, level, IMAGES)

    def asked(self, pictures, models=None):
        """What `measure.predict` takes: all models, or some, and how they are asked."""
        models = self.models if models is None else models

        def seed_of(model, row):
            return seed_for(self.config.seed, "protocols", row)

        return models, self.encoder, pictures, seed_of, AT_ONCE


def occlusion_settings():
    """What `occlusion_rows` depends on besides the training, for JSON.

    The names are those in the digests of finished runs: another one would make all of them anew.
    """
    return {
        "images": IMAGES,
        "hypotheses": HYPOTHESES,
        "samples": SAMPLES,
        "chain_steps": estimators.CHAIN_STEPS,
        "ratios": {name: list(ratios) for name, ratios in RATIOS.items()},
        "shares": list(SHARES),
        "levels": list(LEVELS),
        "looked_into": [list(occlusion) for occlusion in CLOSELY],
    }


def occlusion_rows(tested, occlusion, level):
    """Rows of one of `OCCLUSIONS`: errors, and of `CLOSELY` the other measures too."""
    pictures, closely = tested.pictures(occlusion, level), (occlusion, level) in CLOSELY
    truth = pictures.truth
    asked = tested.asked(pictures)
    predictions, hypotheses = predict(*asked, closely=closely, few=SAMPLES)
    tables = [error_rows(predictions, truth)]
    wanted = {(model.method, model.estimator) for model in tested.models if model.in_detail}
    detailed = [p for p in predictions if (p.method, p.estimator) in wanted]
    more_joints = {}
    if occlusion in (CLEAN, OCCLUDERS):
        kinds = _joint_kinds(tested.data)
        tables.append(kind_rows(detailed, truth, kinds))
        more_joints = {COVERED: kinds[COVERED]}
    if occlusion == OCCLUDERS:
        tables.append(share_rows(detailed, truth))
    if occlusion == CLEAN:
        tables += [convention_rows(prediction, truth) for prediction in detailed]
    if closely:
        for (method, name), poses in hypotheses.items():
            tables.append(uncertainty_rows(poses, truth, method, name, more_joints))
        bones = own_bones(pictures.dataset)[pictures.rows]
        bodies = [p for p in predictions if p.estimator not in NO_BODIES]
        tables.append(plausibility_rows(bodies, truth, bones))
    return joined(tables)


def _joint_kinds(data):
    """`visibility.joint_kinds` of the images that are taken, which both splits have alike."""
    rows = spread_rows(data["test"], IMAGES)
    same = data["test"].take("pose").equal(data["test_occluded"].take("pose"))
    require(same, "the splits test and test_occluded must hold the same frames")
    return joint_kinds(
        data["test"].take("visible", rows), data["test_occluded"].take("covered", rows)
    )


def growth_settings():
    """What `growth_rows` depends on besides the training, for JSON."""
    return {
        "images": IMAGES,
        "hypotheses": HYPOTHESES,
        "chain_steps": estimators.CHAIN_STEPS,
        "levels": list(LEVELS),
        "conditions": [list(occlusion) for occlusion in GROWTH],
    }


def growth_rows(tested, occlusion, level):
    """Rows of uncertainty under one of `GROWTH`, of samplers that are reported in detail."""
    pictures = tested.pictures(occlusion, level)
    samplers = [model for model in tested.models if model.in_detail and model.hypotheses > 1]
    require(len(samplers) > 0, "`tested` must hold a sampler that is reported in detail; got none")
    _, hypotheses = predict(*tested.asked(pictures, samplers), closely=True)
    return joined(
        [uncertainty_rows(poses, pictures.truth, *names) for names, poses in hypotheses.items()]
    )


def action_settings():
    """What `clean_action_rows` depends on besides the training, for JSON."""
    return {"images": IMAGES, "samples": SAMPLES, "chain_steps": estimators.CHAIN_STEPS}


def clean_action_rows(tested):
    """Rows of clean pictures by action; and of models reported in detail, given other pictures."""
    pictures = tested.pictures(CLEAN, 0.0)
    detailed = [model for model in tested.models if model.in_detail]
    predictions, _ = predict(*tested.asked(pictures))
    exchanged = predict_shuffled(*tested.asked(pictures, detailed))
    tables = action_rows(predictions, pictures.truth), error_rows(exchanged, pictures.truth)
    return joined(tables)


def kept(rows_of, tested, occlusions, folder):
    """`rows_of(tested, occlusion, level)` of every occlusion, each kept in a file once it is there.

    Args:
        folder: for the files, of this measurement alone: a run that was killed goes on with the
            next occlusion.
    """
    tables = []
    for occlusion, level in occlusions:
        path = folder / f"{occlusion}-{level:g}.csv"
        if not is_there(path):
            write_table(path, rows_of(tested, occlusion, level))
        tables.append(read_table(path))
    return joined(tables)
