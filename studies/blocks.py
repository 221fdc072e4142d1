"""Blocks: a study's rows of one source and seed, what is missing of them, and making it.

A block holds all settings of a study and is made on one machine, so that their differences are
of the settings alone. A run adds its rows to its block, and a run whose rows are there is not made
again. Its digest, in the column `run`, is of all parameters that the rows depend on: a block made
with other parameters is refused, never added to. A changed library refuses nothing: `code` names
the version of the library behind each row, and a block that should be made anew is removed by hand.
"""

import argparse
import sys

import pandas as pd

from di2pose_lib.base import surroundings
from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import fingerprint, is_there
from di2pose_lib.base.machine import machine
from di2pose_lib.base.project import LIBRARY_DIGEST, project_root
from di2pose_lib.data.source_record import check_record, read_record
from di2pose_lib.data.sources import open_source
from di2pose_lib.evaluation.table import block_path, read_table, write_table


class Run:
    """Some rows of a block; a subclass says in `measured` how they are made.

    Args:
        study, name: of the study, and of what the rows are of, for a reader.
        config: its whole `Config`.
        values: all that the rows depend on but for the code and the source's files, for JSON.
        root: the repository's top folder.
    """

    def __init__(self, study, name, config, values, root=None):
        self.study, self.name, self.config = study, name, config
        self.root, self.values = root or project_root(), values
        self.key = fingerprint([values, read_record(config).get("identity")])
        self.path = block_path(study, config.data.source, config.seed, self.root)

    def __str__(self):
        return f"{self.study}, {self.name}, {self.config.data.source}, seed {self.config.seed}"

    def measured(self):
        """Train what is missing and measure: rows without what `go` adds, a DataFrame."""
        raise NotImplementedError

    def go(self):
        """Make the rows, or take them from a study that shares this run, and add them."""
        rows = self._shared()
        if rows is None:
            rows = self._signed(self.measured())
        before = [read_table(self.path)] if is_there(self.path) else []
        write_table(self.path, pd.concat([*before, rows], ignore_index=True))

    def _shared(self):
        for path in sorted(self.path.parents[1].glob(f"*/{self.path.name}")):
            rows = read_table(path)
            if (rows.run == self.key).any():
                return rows[rows.run == self.key].assign(setting=self.name)
        return None

    def _signed(self, rows):
        computer = machine()
        return rows.assign(
            source=self.config.data.source,
            scale=self.config.scale,
            condition="pictures",
            seed=self.config.seed,
            run=self.key,
            code=LIBRARY_DIGEST[:16],
            budget="",
            cpu=computer["cpu"],
            threads=computer["threads"],
        )


def missing(plan):
    """The `Run`s of a plan, which must hold whole blocks, whose rows are not there.

    Raises:
        ValueError: a block holds rows of other parameters.
    """
    blocks = {}
    for run in plan:
        blocks.setdefault(run.path, {})[run.key] = run
    left = []
    for path, runs in blocks.items():
        there = set(read_table(path).run) if is_there(path) else set()
        if there - runs.keys():
            raise ValueError(f"{path} was made with other parameters: remove it to make it anew")
        left += [run for key, run in runs.items() if key not in there]
    return left


def command(program, doc, names, seeds, params, planned, seconds, arguments):
    """The command line of a set of studies; the exit code.

    Args:
        program, doc: the module's name, and what it does.
        names: of what may be chosen.
        seeds: of the trainings.
        params: of the base configuration, seen from the top folder.
        planned: (base, names, sources, seeds) → list of `Run`s in the order of running.
        seconds: list of `Run`s → how long they will take on this machine.
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=doc)
    parser.add_argument("--study", nargs="+", choices=names, default=list(names))
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--seed", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--plan", action="store_true", help="say what is missing, run nothing")
    chosen = parser.parse_args(arguments)
    try:
        surroundings.check(project_root())
        base = load_config(project_root() / params)
        plan = planned(base, chosen.study, chosen.source, chosen.seed)
        left = missing(plan)
        print(f"{len(plan)} runs, {len(left)} of them missing", flush=True)
        if left:
            print(f"predicted on this machine: {seconds(left) / 3600:.1f} hours", flush=True)
        if chosen.plan:
            return 0
        for config in {run.config.data.source: run.config for run in left}.values():
            check_record(config, open_source(config))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = 0
    for number, run in enumerate(left, start=1):
        print(f"run {number}: {run}", flush=True)
        try:
            run.go()
        except ValueError as error:  # a training that diverged stops no other
            failed += 1
            print(f"error: {run}: {error}", file=sys.stderr)
    return 1 if failed else 0
