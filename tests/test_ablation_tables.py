"""What else the ablations' rows hold, for a reader, from made-up rows."""

import math

import pytest
import torch
from small_results import empty_root, put_run

from di2pose_lib.base.seeding import generator_for
from di2pose_lib.evaluation import estimators
from di2pose_lib.evaluation.seed_statistics import SeedErrors, combined_interval
from studies import ablations
from studies.ablation_tables import claims, markdown_details, weighted_errors

SOURCE = "synthetic"
USE = {"codes_used_share": 0.5, "code_perplexity": 20.0}


def details(root, name):
    """{setting: {column: cell}} of a table."""
    columns, rows = markdown_details(ablations.table_of(name), SOURCE, root=root)
    assert columns[0] == SOURCE
    return {row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in rows}


def test_an_even_draw_uses_as_many_codes_as_can_be_expected(tmp_path):
    root, table = empty_root(tmp_path), ablations.table_of("4")
    first, second = table.settings[:2]
    drawn = (  # four images, so 8 and 12 tokens are drawn from 4 codes
        (first, {"design": {"num_tokens": 2, "levels": [], "codebook_size": 4}}),
        (second, {"tokenizer": {"sizes": {"num_tokens": 3, "levels": [2, 2]}}}),
    )
    for setting, made_from in drawn:
        errors = {"reconstruction, mpjpe_mm": 10.0}
        put_run(root, SOURCE, table, setting, 3, errors, code_use=USE, **{"from": made_from})
    found = details(root, "4")
    for setting, draws in ((first, 8), (second, 12)):
        cells = found[setting.name]
        assert cells["codes used, %"] == 50 and cells["perplexity"] == 20
        assert cells["by an even draw, %"] == pytest.approx(100 * (1 - 0.75**draws))
        assert cells["entropy of the levels, %"] == "–"  # not counted


@pytest.mark.parametrize("samples", [1, 2])
def test_of_a_single_sample_there_is_no_mean(tmp_path, samples):
    root, table = empty_root(tmp_path), ablations.table_of("3d")
    clean = {
        name: f"{name}, clean" for name in (estimators.ONE_SAMPLE, estimators.MEAN, estimators.SOFT)
    }
    errors = {f"{column}, mpjpe_mm": 100.0 + i for i, column in enumerate(clean.values())}
    made_from = {"evaluation": {"num_hypotheses": samples}}
    put_run(root, SOURCE, table, table.settings[0], 3, errors, **{"from": made_from})
    cells = details(root, "3d")[table.settings[0].name]
    assert cells[clean[estimators.ONE_SAMPLE]] == 100 and cells[clean[estimators.SOFT]] == 102
    assert cells[clean[estimators.MEAN]] == ("–" if samples == 1 else 101)


def run_of(errors, clusters="subject"):
    """A row of an ablation with an error in each of three clusters."""
    return {"clusters": clusters, "images": [1, 2, 3], "errors": {"mm": errors}}


@pytest.mark.parametrize("clusters", ["subject", "recording"])
def test_a_difference_is_taken_in_each_cluster_and_joined_over_seeds_and_clusters(clusters):
    first = {3: [10.0, 13.0, 20.0], 4: [12.0, 11.0, 24.0], 5: [9.0, 15.0, 21.0]}
    second = {3: [9.0, 10.0, 21.0], 4: [10.0, 12.0, 22.0], 5: [9.0, 11.0, 20.0]}
    rows = {
        name: {seed: run_of(errors, clusters) for seed, errors in own.items()}
        for name, own in (("a", first), ("b", second))
    }
    found = weighted_errors(rows, {("a", "mm"): 1, ("b", "mm"): -1})
    runs = [
        SeedErrors(torch.tensor(first[seed]) - torch.tensor(second[seed]), torch.tensor([1, 2, 3]))
        for seed in first
    ]
    wanted = combined_interval(
        [run._replace(means=run.means.double()) for run in runs],
        2000,
        generator_for(0, "ablations", "bootstrap"),
        shared_clusters=clusters == "recording",
    )
    assert found[:3] == pytest.approx(wanted) and found.seeds == 3
    each = [(run.means * run.images).sum().item() / 6 for run in runs]
    assert found.mean == pytest.approx(sum(each) / 3)
    del rows["b"][5]
    assert weighted_errors(rows, {("a", "mm"): 1, ("b", "mm"): -1}).seeds == 2


def test_the_people_of_a_test_set_widen_an_interval_that_seeds_agree_on():
    rows = {"a": {seed: run_of([0.0, 10.0, 40.0], "recording") for seed in (3, 4, 5)}}
    found = weighted_errors(rows, {("a", "mm"): 1})
    assert found.low < found.mean - 5 and found.high > found.mean + 5


def test_one_seed_has_no_interval_and_none_has_nothing():
    rows = {"a": {3: run_of([1.0, 2.0, 3.0])}, "b": {}}
    assert weighted_errors(rows, {("a", "mm"): 1}) == (14 / 6, -math.inf, math.inf, 1)
    assert weighted_errors(rows, {("a", "mm"): 1, ("b", "mm"): -1}) is None


def test_a_contrast_may_be_of_two_errors(tmp_path):
    root, table = empty_root(tmp_path), ablations.table_of("occlusion")
    by_name = {setting.name: setting for setting in table.settings}
    errors = {  # without and with occluders in the picture
        "replace alone, plain pictures": (100.0, 140.0),
        "occlude and replace, plain pictures": (90.0, 125.0),
    }
    for name, (clean, hidden) in errors.items():
        own = {ablations.ONE_SAMPLE: clean, ablations.ONE_SAMPLE_OCCLUDED: hidden}
        for seed in (3, 4, 5):
            put_run(root, SOURCE, table, by_name[name], seed, own)
    found = {claim: by for claim, by, _ in claims(table, SOURCE, root=root)}
    rise = found["occluders cost less with occluded tokens, plain pictures"]
    assert rise.mean == pytest.approx(40 - 35)
    helped = found["occluded tokens help under occluders, with plain pictures"]
    assert helped.mean == pytest.approx(140 - 125)
