"""What must hold around this library before numbers are made with it.

DVC locks the sources of the checkout that it runs in. A `.venv` that two checkouts share, or
`PYTHONPATH`, may import another checkout's library instead: whose numbers these are would be
a lie. And a notebook's checks are assertions, which Python can be told to pass over.
"""

import os
import sys
from pathlib import Path

from di2pose_lib.base.checks import require

LIBRARY = Path(__file__).parents[1]


def check(root):
    """Refuse to work in the checkout `root` with another's library, or without assertions.

    Raises:
        ValueError: one sentence, which says what to do.
    """
    check_library(root)
    require(
        sys.flags.optimize == 0,
        "Python must keep its assertions, by which notebooks check themselves; got optimisation "
        f"level {sys.flags.optimize}: unset PYTHONOPTIMIZE and leave out -O",
    )


def check_library(root):
    """Refuse to work in a checkout with another's library.

    Args:
        root: top folder of the checkout that is worked in. One without a library of its own,
            notebooks and parameters alone, takes the one that is installed.

    Raises:
        ValueError: one sentence, which says what to do.
    """
    library = Path(root) / LIBRARY.name
    require(
        not library.is_dir() or os.path.samefile(library, LIBRARY),  # whatever links lead there
        f"{root} must be run with its own library, {library}; got the one in {LIBRARY}: "
        f"unset PYTHONPATH and run `make install` in {root}",
    )


def write_utf8():
    """Let this program print any sign, whatever the locale and PYTHONIOENCODING say."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
