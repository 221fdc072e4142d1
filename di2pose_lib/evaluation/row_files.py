"""Files of many result rows: JSON with a row on each line, small and easy to compare."""

import json

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import write_text


def write_rows(path, value):
    """Write rows as JSON, atomically; `files.read_json` reads them.

    Args:
        path: of the file.
        value: a list of rows, or a dict whose values are such lists, or anything else for JSON.

    Raises:
        ValueError: neither a list nor a dict, or NaN or infinity in it.
    """
    require(isinstance(value, list | dict), f"`value` must be a list or a dict; got {type(value)}")
    if isinstance(value, list):
        text = _lines(value)
    else:
        parts = (f"{json.dumps(key)}: {_lines(part)}" for key, part in value.items())
        text = "{\n" + ",\n".join(parts) + "\n}"
    write_text(path, text + "\n")


def _lines(value):
    if not isinstance(value, list):
        return _compact(value)
    return "[\n" + ",\n".join(_compact(row) for row in value) + "\n]"


def _compact(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
