"""Rows of the one table from those of the protocols, which hold their clusters' means."""

from fractions import Fraction

import pandas as pd

from di2pose_lib.evaluation import inpainting, measure
from di2pose_lib.evaluation.advocc_rows import BIAS, FRESH, LOST, SAME, SEARCH, SPARED
from di2pose_lib.evaluation.visibility import COVERED, OWN_BODY, SEEN

PLACE_FOUND, FRESH_TEXTURES = "place found", "fresh textures"  # settings of the worst patch
PATCH = "worst patch"
SEARCHED = {SAME: "same_place_percent", LOST: "lost_mm", SPARED: "spared_percent"}
CASES = {  # of inpainting: the occlusion of their images, and its level
    inpainting.protocol_of(inpainting.LEGS_KNOWN): ("clean", 0.0),
    inpainting.protocol_of(inpainting.VISIBLE): ("occluders", 1.0),
}


def table_rows(rows, config):
    """A DataFrame of rows of the table, one for each cluster.

    Left out is what others give: differences, means of actions and of groups of them, the bias of
    a maximum, the clean images that a second patch has too.

    Args:
        rows: `conditions.result_row`s.
        config: of the run; people of synthetic data are its seed's alone.
    """
    lines = []
    for row in rows:
        if row["clusters"] is not None and " − " not in row["metric"] + row["estimator"]:
            fields = _fields(row)
            if fields is not None:
                lines += [fields | line for line in _by_cluster(row["clusters"], config)]
    return pd.DataFrame(lines)


def _by_cluster(clusters, config):
    kind = "person" if config.data.source == "synthetic" else "recording"
    drawn = f"{config.seed}-" if kind == "person" else ""
    for name, mean, count in zip(*clusters.values(), strict=True):
        yield {"cluster": f"{kind} {drawn}{name}", "value": mean, "n": count}


def _fields(row):
    """The columns of a row besides its clusters; None where others give it."""
    protocol, metric, joints = row["protocol"], row["metric"], row["joints"]
    fields = {
        "test_set": "test",
        "method": row["method"],
        "setting": "",
        "estimator": row["estimator"],
        "occlusion": protocol,
        "level": float(row["level"]),
        "joints": joints,
        "action": "all",
        "metric": metric,
        "joint": "",
        "nominal": None,
    }
    if ": " in protocol:
        fields["occlusion"], fields["action"] = protocol.split(": ")
        return None if fields["action"] == "seen in training" else fields
    if joints.endswith(tuple(f", {kind}" for kind in (SEEN, COVERED, OWN_BODY))):
        fields["joint"], fields["joints"] = joints.split(", ")
    if metric.startswith("coverage "):
        share = metric.removeprefix("coverage ").replace(" %", "/100")
        fields |= {"metric": "coverage", "nominal": round(float(Fraction(share)), 6)}
    if metric.startswith("radius_"):
        fields |= {"metric": "radius_mm", "nominal": int(metric.split("_")[1]) / 100}
    if protocol in CASES:
        fields["setting"] = protocol
        fields["occlusion"], fields["level"] = CASES[protocol]
        if row["estimator"] == inpainting.TOKENIZER:
            fields |= {"method": measure.TOKENIZER, "estimator": measure.RECONSTRUCTION}
    if protocol.startswith("advocc"):
        return _of_patch(row, fields)
    return fields


def _of_patch(row, fields):
    error, _, what = row["metric"].partition(", ")
    if row["protocol"] == SEARCH:
        error, what = ("", row["metric"]) if row["metric"] == SPARED else (error, what)
        return fields | {"occlusion": PATCH, "setting": error, "metric": SEARCHED[what]}
    if what == BIAS:
        return None
    if not row["level"]:
        return fields | {"occlusion": "clean", "metric": error}
    setting = FRESH_TEXTURES if what == FRESH else PLACE_FOUND
    return fields | {"occlusion": PATCH, "setting": setting, "metric": error}
