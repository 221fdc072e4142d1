"""Progress: plain lines in a stage's log, a bar elsewhere."""

import sys

from di2pose_lib.base import progress


def work(total=4):
    """Four steps with a milestone at the second and the last."""
    bar = progress.Progress("toy", total)
    for step in range(1, total + 1):
        bar.tick(step)
        if step % 2 == 0:
            bar.report(step, {"loss": 1 / step})


def test_a_stage_logs_its_milestones_alone_and_none_in_the_notebook(monkeypatch, capsys):
    monkeypatch.setenv("DI2POSE_STAGE", "toy")
    work()
    captured = capsys.readouterr()
    assert captured.err == "toy: step 2/4  loss 0.5000\ntoy: step 4/4  loss 0.2500\n"
    assert captured.out == ""


def test_elsewhere_a_bar_is_redrawn_on_stderr_and_ends_with_the_last_milestone(monkeypatch, capsys):
    monkeypatch.delenv("DI2POSE_STAGE", raising=False)
    work()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n")
    last = captured.err.split("\r")[-1]
    assert last.startswith("toy: 100%") and "4/4" in last and "loss 0.2500" in last


def test_without_tqdm_milestones_are_lines(monkeypatch, capsys):
    monkeypatch.delenv("DI2POSE_STAGE", raising=False)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    work()
    assert capsys.readouterr().err.startswith("toy: step 2/4  loss 0.5000\n")


def test_a_note_goes_to_stderr_because_it_belongs_to_this_run_alone(capsys):
    progress.note("waiting")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "waiting\n")
