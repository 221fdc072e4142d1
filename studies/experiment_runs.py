"""What the experiment sets' command lines share: sources checked first, then run after run."""

import sys

from di2pose_lib.data.source_record import check_record
from di2pose_lib.data.sources import open_source
from studies import ablations


def check_sources(base, sources):
    """Refuse data sources whose files are not those of the committed record: ValueError."""
    for source in sources:
        config = ablations.changed(base, {"data.source": source})
        check_record(config, open_source(config))


def run_each(named_runs):
    """Run what is missing, one after the other; the exit code.

    A run that refuses (a training that diverged) is told and stops no other.

    Args:
        named_runs: list of (what the run is, a run with `go()`).
    """
    failed = 0
    for number, (name, run) in enumerate(named_runs, start=1):
        print(f"run {number}: {name}", flush=True)
        try:
            run.go()
        except ValueError as error:
            failed += 1
            print(f"error: {name}: {error}", file=sys.stderr)
    return 1 if failed else 0
