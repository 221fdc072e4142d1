"""What README and docs/results.md show is what the committed results say."""

import importlib.util
import re
from pathlib import Path

import pandas as pd
import pytest

from di2pose_lib.evaluation.estimators import CHAIN, SOFT

ROOT = Path(__file__).resolve().parents[1]


def make_results():
    """The module docs/make_results.py."""
    path = ROOT / "docs" / "make_results.py"
    spec = importlib.util.spec_from_file_location("make_results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_numbers_that_are_shown_are_those_that_the_results_give(committed, monkeypatch):
    made = make_results()
    monkeypatch.setattr(made, "ROOT", committed)
    for file, blocks in made.BLOCKS.items():
        text = (committed / file).read_text(encoding="utf-8")
        assert re.findall("<!-- (.*):begin", text) == [*blocks]
        for block, lines in blocks.items():
            begin, end = made.markers(block)
            shown = text.split(begin)[1].split("\n", 1)[1].split(end)[0]
            assert shown == "\n".join(lines()) + "\n"


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "docs/results.md"])
def test_links_lead_to_what_is_committed(committed, file):
    page = committed / file
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
    names = re.findall(r"`((?:\w+/)+[\w.]*)`", page.read_text(encoding="utf-8"))
    made = ("reports/", "scratch/", "pipelines/NAME")
    tops = [committed, committed / "di2pose_lib"]
    assert not [
        n for n in names if not n.startswith(made) and not any((t / n).exists() for t in tops)
    ]


def test_the_readme_is_short():
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    assert len(words) <= 700


def test_what_the_readme_says_of_its_table_is_so(committed):
    readme = (committed / "README.md").read_text(encoding="utf-8")
    rows = {
        estimator: [[*map(float, re.findall(r"\d+", cell))] for cell in cells]
        for _, _, estimator, *cells, _ in (
            map(str.strip, line.split("|"))
            for line in readme.splitlines()
            if re.search(r"\d \[\d+, \d+\] \|", line)
        )
    }
    copied, sampled, soft = rows["copy"], rows[CHAIN], rows[SOFT]
    for (_, *copy), (_, low, high) in zip(copied, sampled, strict=True):
        assert low <= copy[1] and copy[0] <= high, "about as far off: the intervals overlap"
    assert all(ours[0] < copy[0] for ours, copy in zip(soft, copied, strict=True))
    shown = (committed / "docs" / "results.md").read_text(encoding="utf-8")
    verdicts = re.findall(r"\*\*(holds here|does not hold here|undecided)\*\*", shown)
    assert verdicts.count("holds here") < verdicts.count("does not hold here")
    assert verdicts.count("undecided") > len(verdicts) / 2


def test_the_sampler_s_time_is_that_of_the_order_which_each_scale_ships():
    def options(**shares):
        return {"options": {name: {"sampler_over_denoiser": s} for name, s in shares.items()}}

    cases = {
        "lesson, 8 samples": options(default=0.5, confidence=0.25),
        "lesson, batch 64": options(default=0.6, confidence=0.27),
        "paper, one sample": options(default=0.004, confidence=0.9),
    }
    assert make_results().sampler_shares({"cases": cases}) == {
        "lesson": (0.27, "confident tokens first"),
        "paper": (0.004, "Eq. 9"),
    }


def test_how_far_one_more_seed_lies_is_told_in_a_sentence_of_its_template():
    errors = [("soft decoding", 111.94, 99.6, 125.2), ("one sample", 139.7, 120.4, 160.0)]
    (line,) = make_results().sentences("seeds", errors=errors, seeds=3)
    assert line.endswith(
        "Committed: soft decoding 111.9 mm, one more seed 100 to 125; one sample 139.7 mm, one "
        "more seed 120 to 160 (clean images, 3 seeds)."
    )


def test_a_line_of_a_table_has_its_first_column_flush_left():
    table = pd.DataFrame({"method": ["a", "c"], "mm": ["1.2", "2"]})
    assert make_results().markdown(table) == [
        "| method | mm |",
        "| :-- | --: |",
        "| a | 1.2 |",
        "| c | 2 |",
    ]
