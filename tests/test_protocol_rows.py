"""Rows over several seeds: hand-made rows of each seed, joined."""

import pytest

from studies.protocol_rows import combined_rows, difference_rows


def row(means, counts=(1, 1), names=(0, 1), estimator="e", metric="x_mm", level=0.2):
    total = sum(m * c for m, c in zip(means, counts, strict=True)) / sum(counts)
    return {
        "protocol": "crop", "level": level, "method": "m", "estimator": estimator,
        "joints": "all", "metric": metric, "mean": total, "ci95_low": 0.0, "ci95_high": 0.0,
        "seeds": 1, "n": sum(counts),
        "clusters": {"names": list(names), "means": list(means), "counts": list(counts)},
    }  # fmt: skip


def test_the_same_row_of_every_seed_becomes_one():
    seeds = [[row([1.0, 3.0], (3, 1)), row([9.0, 9.0], metric="y")], [row([10.0, 10.0])]]
    (joined,) = combined_rows(seeds, shared_clusters=False)
    assert joined["metric"] == "x_mm", "y is not of all seeds"
    assert joined["mean"] == pytest.approx((1.5 + 10) / 2)
    assert joined["seeds"] == 2 and joined["n"] == 6 and "clusters" not in joined
    assert joined["ci95_low"] < joined["mean"] < joined["ci95_high"]


def test_shared_clusters_are_those_that_every_seed_has():
    seeds = [[row([1.0, 3.0])], [row([5.0, 100.0], names=(1, 7))]]
    (joined,) = combined_rows(seeds, shared_clusters=True)
    assert joined["mean"] == pytest.approx((3 + 5) / 2)
    assert joined["n"] == 2, "images of the clusters that are left out do not count"


def test_rows_without_clusters_are_left_out():
    grouped = {**row([1.0, 3.0]), "clusters": None}
    assert combined_rows([[grouped], [grouped]], shared_clusters=False) == []


def test_a_difference_is_taken_cluster_by_cluster():
    seeds = [
        [row([105.0, 11.0], estimator="a"), row([100.0, 10.0], estimator="b")],
        [row([53.0, 7.0], estimator="a"), row([50.0, 6.0], estimator="b")],
    ]
    options = {"shared_clusters": False}
    (joined,) = difference_rows(seeds, ("m", "a"), ("m", "b"), **options)
    assert joined["mean"] == pytest.approx((3 + 2) / 2)
    assert joined["method"] == "m, a − m, b"
    # Though the errors differ by 100 mm, their differences, 3 and 2 in the seeds, do not.
    assert joined["ci95_low"] == pytest.approx(2.5 - 12.706 / 2)
    assert joined["ci95_high"] == pytest.approx(2.5 + 12.706 / 2)
    assert difference_rows(seeds, ("m", "a"), ("m", "none"), **options) == []


def test_what_cannot_be_joined_is_refused():
    with pytest.raises(ValueError, match="`rows_of_seeds` must hold at least one seed"):
        combined_rows([], shared_clusters=False)
    with pytest.raises(ValueError, match="`rows` must hold a row once; got .*'crop'.* twice"):
        combined_rows([[row([1.0, 2.0]), row([1.0, 2.0])]], shared_clusters=False)
    pair = [row([1.0, 2.0], estimator="a"), row([1.0, 2.0], (2, 1), estimator="b")]
    with pytest.raises(ValueError, match="of the same images; got others in x_mm"):
        difference_rows([pair], ("m", "a"), ("m", "b"), shared_clusters=False)
