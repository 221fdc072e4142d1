"""Progress: plain lines in a stage's log, a line redrawn in place elsewhere."""

import sys
from types import SimpleNamespace

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


def test_a_terminal_sees_one_line_redrawn_and_ended_once(monkeypatch, capsys):
    monkeypatch.delenv("DI2POSE_STAGE", raising=False)
    work()
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.endswith("\n")
    last = out.split("\r")[-1]
    assert "█" * 24 in last
    assert "4/4  loss 0.2500" in last
    assert "0 s left" in last


def test_a_notebook_updates_one_display(monkeypatch, capsys):
    monkeypatch.delenv("DI2POSE_STAGE", raising=False)
    shown, updates = [], []

    class Pretty:
        def __init__(self, text):
            self.text = text

    def display(pretty, display_id):
        shown.append(pretty.text)
        return SimpleNamespace(update=lambda new: updates.append(new.text))

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    fake = SimpleNamespace(Pretty=Pretty, display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    work()
    assert len(shown) == 1
    assert "4/4" in updates[-1]
    assert capsys.readouterr().out == ""


def test_a_note_goes_to_stderr_because_it_belongs_to_this_run_alone(capsys):
    progress.note("waiting")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "waiting\n")
