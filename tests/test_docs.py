"""What README shows is what the committed results say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_table_in_the_readme_is_the_one_that_the_results_give():
    make_results = runpy.run_path(str(ROOT / "docs" / "make_results.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(make_results["BEGIN"])[1].split("\n", 1)[1].split(make_results["END"])[0]
    assert shown == "\n".join(make_results["table"]()) + "\n"
    assert len(readme.splitlines()) <= 150
