"""Live progress: a bar where someone watches, plain lines where a log is kept.

In JupyterLab or a terminal, a line with rate and time left is redrawn in place. Under
a pipeline stage (environment variable DI2POSE_STAGE) each report is a line of its own on
stderr: it belongs to the run's log, and not to the executed notebook, which must be the
same for a run that trained, one that continued and one that found the training done.
"""

import os
import sys
import time


def note(message):
    """Say something that belongs to this run alone (progress, waiting, resuming), on stderr."""
    print(message, file=sys.stderr, flush=True)


def _shown(values):
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


class Progress:
    """Reports on `total` steps of the work called `label`."""

    def __init__(self, label, total):
        self.label, self.total = label, total
        self.in_stage = "DI2POSE_STAGE" in os.environ
        self.started, self.first_step, self.last_drawn = time.monotonic(), None, 0.0
        self.values = {}
        self.handle = None

    def report(self, step, values):
        """A milestone, always shown; `values` maps names to numbers."""
        self.values = values
        if self.in_stage:
            note(f"{self.label}: step {step}/{self.total}  {_shown(values)}")
        else:
            self._draw(step)

    def tick(self, step):
        """A step is done; redraws the live line at most four times a second."""
        if self.first_step is None:
            self.first_step, self.started = step - 1, time.monotonic()
        if not self.in_stage and time.monotonic() - self.last_drawn > 0.25:
            self._draw(step)

    def _draw(self, step):
        self.last_drawn = time.monotonic()
        done = step - (self.first_step if self.first_step is not None else step)
        rate = done / max(self.last_drawn - self.started, 1e-9)
        left = f"{(self.total - step) / rate:.0f} s left" if rate > 0 else ""
        filled = round(24 * step / self.total)
        bar = "█" * filled + "░" * (24 - filled)
        line = f"{self.label} {bar} {step}/{self.total}  {_shown(self.values)}  {left}"
        if not _in_notebook():
            print(f"\r{line}\x1b[K", end="\n" if step == self.total else "", flush=True)
            return
        from IPython.display import Pretty, display

        if self.handle is None:
            self.handle = display(Pretty(line), display_id=True)
        else:
            self.handle.update(Pretty(line))


def _in_notebook():
    """Whether this runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")
