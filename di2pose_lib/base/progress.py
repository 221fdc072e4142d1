"""Live progress: tqdm's bar where someone watches, plain lines where a log is kept.

Under a pipeline stage (environment variable DI2POSE_STAGE), and where tqdm is not installed,
each report is a line of its own. All of it goes to stderr: it belongs to the run's log, and not
to the executed notebook, which must be the same for a run that trained, one that continued and
one that found the training done.
"""

import os
import sys


def note(message):
    """Say something that belongs to this run alone (progress, waiting, resuming), on stderr."""
    print(message, file=sys.stderr, flush=True)


class Progress:
    """Reports on `total` steps of the work called `label`, of which `done` are done already."""

    def __init__(self, label, total, done=0):
        self.label, self.total, self.bar = label, total, None
        if "DI2POSE_STAGE" not in os.environ:
            try:
                from tqdm import tqdm  # the core does without it
            except ModuleNotFoundError:
                return
            self.bar = tqdm(desc=label, total=total, initial=done)

    def tick(self, step):
        """A step is done."""
        if self.bar is not None:
            self.bar.update(step - self.bar.n)

    def report(self, step, values):
        """A milestone, always shown; `values` maps names to numbers."""
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        if self.bar is None:
            note(f"{self.label}: step {step}/{self.total}  {shown}")
            return
        self.bar.set_postfix_str(shown)
        self.tick(step)
        if step == self.total:
            self.bar.close()
