"""What README shows is what the committed results say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def make_results():
    """The module docs/make_results.py."""
    path = ROOT / "docs" / "make_results.py"
    spec = importlib.util.spec_from_file_location("make_results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_numbers_in_the_readme_are_those_that_the_results_give(committed, monkeypatch):
    made = make_results()
    monkeypatch.setattr(made, "ROOT", committed)
    readme = (committed / "README.md").read_text(encoding="utf-8")
    assert set(made.BLOCKS) == {"results", "besides", "claims", "speed", "seeds"}
    for block, lines in made.BLOCKS.items():
        begin, end = made.markers(block)
        shown = readme.split(begin)[1].split("\n", 1)[1].split(end)[0]
        assert shown == "\n".join(lines()) + "\n"
    assert len(readme.splitlines()) <= 150


def test_the_sampler_s_time_is_that_of_the_order_which_each_scale_ships():
    def options(**shares):
        return {"options": {name: {"sampler_over_denoiser": s} for name, s in shares.items()}}

    cases = {
        "lesson, 8 samples": options(default=0.5, confidence=0.25),
        "lesson, batch 64": options(default=0.6, confidence=0.27),
        "paper, one sample": options(default=0.004, confidence=0.9),
    }
    line = make_results()._samplers({"cases": cases})
    told = "at most 27% at scale lesson (confident tokens first), 0.4% at scale paper (Eq. 9)"
    assert told in line


def test_the_time_of_advocc_is_told_in_minutes_as_an_extrapolation():
    found = {
        "images": 12,
        "extrapolated": {
            "images_for_each_patch": 200,
            "minutes_for_all_patches": {"coarse to fine": 9.4, "full grid": 23.5},
            "full_over_coarse": 2.5,
        },
    }
    assert make_results()._attacks(found) == (
        "AdvOcc@40 and @80, coarse to fine, on 200 images each: 9 minutes, extrapolated from 12 "
        "images; the full grid 2.5 × as long."
    )
