"""What else the ablations' rows hold, for a reader, from made-up rows."""

import pytest
from small_results import empty_root, put_run

from di2pose_lib import ablations, estimators
from di2pose_lib.ablation_tables import markdown_details

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
