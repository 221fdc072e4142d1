"""What README shows is what the committed results say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_numbers_in_the_readme_are_those_that_the_results_give():
    make_results = runpy.run_path(str(ROOT / "docs" / "make_results.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(make_results["BLOCKS"]) == {"results", "besides", "claims", "speed"}
    for block, lines in make_results["BLOCKS"].items():
        begin, end = make_results["markers"](block)
        shown = readme.split(begin)[1].split("\n", 1)[1].split(end)[0]
        assert shown == "\n".join(lines()) + "\n"
    assert len(readme.splitlines()) <= 150
