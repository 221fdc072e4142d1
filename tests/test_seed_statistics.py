"""Intervals over seeds and clusters: hand-made cases, and the coverage that they promise."""

import pytest
import torch

from di2pose_lib.seed_statistics import SeedErrors, combined_interval


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def run(means, images=None):
    means = torch.as_tensor(means, dtype=torch.float64)
    images = torch.ones(len(means)) if images is None else torch.as_tensor(images)
    return SeedErrors(means, images.long())


def interval(*runs, shared=False, samples=2000):
    return combined_interval(list(runs), samples, seeded(), shared_clusters=shared)


def test_the_mean_weighs_seeds_equally_and_images_within_a_seed():
    found = interval(run([1.0, 3.0], [3, 1]), run([10.0]))
    assert found.mean == pytest.approx((1.5 + 10) / 2)
    assert found.low <= found.mean <= found.high


def test_without_any_difference_the_interval_is_a_point():
    assert interval(run([5.0, 5.0]), run([5.0, 5.0, 5.0])) == (5.0, 5.0, 5.0)


def test_one_seed_has_the_interval_of_its_clusters():
    found = interval(run([0.0, 1.0]))
    # resamples of two clusters: 0, ½ and 1 with shares ¼, ½, ¼
    assert found == (0.5, 0.0, 1.0)


def test_differences_between_seeds_widen_the_interval():
    alike = interval(run([4.0, 6.0]), run([4.0, 6.0]), run([4.0, 6.0]))
    apart = interval(run([1.0, 3.0]), run([4.0, 6.0]), run([7.0, 9.0]))
    assert alike.mean == apart.mean == 5
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_shared_clusters_are_drawn_together_and_do_not_average_out():
    runs = [run([0.0, 10.0])] * 8
    together, apart = interval(*runs, shared=True), interval(*runs)
    assert (together.low, together.high) == (0, 10)
    assert apart.high - apart.low < together.high - together.low


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # three seeds of spread 1, in each 20 clusters of spread 3: the percentile interval of so
    # few seeds is somewhat too narrow, and far from useless
    draws, covered = seeded(5), 0
    for _ in range(300):
        offsets = torch.randn(3, 1, generator=draws, dtype=torch.float64)
        errors = offsets + 3 * torch.randn(3, 20, generator=draws, dtype=torch.float64)
        found = interval(*map(run, errors), samples=200)
        covered += found.low <= 0 <= found.high
    assert 0.85 <= covered / 300 <= 0.99


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ([], {}, "`runs` must hold at least one seed"),
        ([run([1.0, 2.0], [1, 0])], {}, "`images` must be at least 1 in every cluster; got 0"),
        ([run([1.0]), run([1.0, 2.0])], {"shared": True}, r"equally many clusters.*got \[1, 2\]"),
        ([run([1.0])], {"samples": 0}, "`num_samples` must be at least 1; got 0"),
        ([SeedErrors(torch.ones(2), torch.ones(3).long())], {}, "`images` must have shape"),
    ],
)
def test_what_does_not_fit_is_refused(runs, options, message):
    with pytest.raises(ValueError, match=message):
        interval(*runs, **options)
