"""Which files a source reads: a committed record, for DVC does not see their folder.

`results/reference/<source>.json` holds their digests, and the data preparation depends on
it. So `dvc status` is clean on a machine without the motion capture, no lock names a
machine's folder, and with other files everything is made anew. `make mocap` brings the
record up to date: `python -m di2pose_lib.data.source_record PARAMS_FILE`.
"""

import sys

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import is_there, read_json, write_json
from di2pose_lib.base.project import project_root
from di2pose_lib.data.sources import open_source


def record_path(config):
    """Where the record of a `Config`'s source lies."""
    return project_root() / "results" / "reference" / f"{config.data.source}.json"


def read_record(config):
    """The record: a dict with the source's `identity`; empty where none was written."""
    path = record_path(config)
    return read_json(path) if is_there(path) else {}


def update_record(config):
    """Write the record anew if the source's files are others; whether they were.

    Raises:
        ValueError: a missing folder, a bad index.
    """
    record, identity = read_record(config), open_source(config).identity()
    changed = record.get("identity") != identity
    if changed:
        write_json(record_path(config), {**record, "identity": identity})
    return changed


def check_record(config, source):
    """Refuse a source whose files are not the recorded ones: DVC would not have noticed."""
    require(
        read_record(config).get("identity") == source.identity(),
        f"{record_path(config)} must record the files that source {config.data.source} reads; it "
        "names others: run `make mocap`, or `python -m di2pose_lib.data.source_record PARAMS_FILE`",
    )


def main(arguments):
    """Command line; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m di2pose_lib.data.source_record PARAMS_FILE", file=sys.stderr)
        return 2
    try:
        surroundings.check(project_root())
        config = load_config(arguments[0])
        changed = update_record(config)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = record_path(config).relative_to(project_root())
    print(f"{path}: {'other files, written anew' if changed else 'up to date'}")
    return 0


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main(sys.argv[1:]))
