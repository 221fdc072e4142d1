"""Reading params.yaml into a `Config`: unknown keys and wrong types are refused by their path."""

import dataclasses
import functools
import json
import re
from os.path import isdir
from pathlib import Path

from di2pose_lib.base.checks import require
from di2pose_lib.base.config import Config
from di2pose_lib.base.files import is_there

UNKNOWN = "unexpected_keyword_argument"  # pydantic's word for a key that no section has


@functools.cache
def _reader():
    """pydantic's reader of `Config`; imported here, for the core does without it."""
    from pydantic import TypeAdapter, with_config

    strict = with_config(strict=True, extra="forbid", allow_inf_nan=False)
    return TypeAdapter(strict(Config))


def _sentence(fault):
    """One of pydantic's errors as a sentence that names the field by its whole path."""
    where = ".".join(part for part in fault["loc"] if isinstance(part, str))
    told = {"missing": f"`{where}` is missing", UNKNOWN: f"`{where}` is not a known key"}
    if fault["type"] in told:
        return told[fault["type"]]
    if fault["type"] == "value_error":  # a contradiction, which a section tells of its fields
        wanted, got, value = str(fault["ctx"]["error"]).partition("; got ")
        return (re.sub(r"`(\w+)`", rf"`{where}.\1`", wanted) if where else wanted) + got + value
    if fault["type"] == "json_invalid":  # too deep
        return f"parameters must be plain values; got {fault['msg']}"
    what = fault["msg"].removeprefix("Input should be ").replace("an object", "a section")
    what = what.replace("valid array", "list")
    trap = fault["type"] == "float_type" and isinstance(fault["input"], str)
    hint = ": YAML 1.1 takes 1e-4 for a string, write 1.0e-4" if trap else ""
    return f"`{where or 'parameters'}` must be {what}; got {fault['input']!r:.60}{hint}"


def config_from_dict(values, source="params"):
    """A `Config` from nested dicts as YAML gives them.

    Raises:
        ValueError: one sentence naming `source` and the field, with wanted and got.
    """
    from pydantic import ValidationError

    try:  # as JSON, in which lists serve as tuples and whole numbers as floats
        return _reader().validate_json(json.dumps(values, default=str))
    except ValidationError as error:  # of a misspelled key, not that its name is missing
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != UNKNOWN)
        raise ValueError(f"{source}: {_sentence(faults[0])}") from None
    except (TypeError, ValueError) as error:  # a list as a key, a section inside itself
        raise ValueError(f"{source}: parameters must be plain values; got {error}") from None


def _yaml_fault(error):
    """What is wrong with a file that is no YAML, and in which line where that is known."""
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error) or type(error).__name__
    what = what.splitlines()[0].split(" with value ")[0]  # of a key that stands there twice
    return f"{what} in line {mark.line + 1}" if mark else what


def load_config(path):
    """The `Config` in a YAML 1.2 file (so that 1e-4 is a number).

    A file with the key `base`, another file seen from its own folder, says in what it differs
    from that one.

    Raises:
        ValueError: no file, bad YAML, unknown key, wrong type, contradiction.
    """
    return config_from_dict(_values(Path(path)), source=str(path))


def _values(path):
    """The nested dicts in a YAML file, laid over those of its `base`."""
    from ruamel.yaml import YAML, YAMLError

    require(not isdir(path), f"{path}: the parameters file must be a file; got a folder")
    require(is_there(path), f"{path}: the parameters file does not exist")
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: the 99th of a month
        raise ValueError(f"{path}: not valid YAML: {_yaml_fault(error)}") from None
    if not isinstance(values, dict) or "base" not in values:
        return values
    base = values.pop("base")
    require(isinstance(base, str), f"{path}: `base` must name a file; got {base!r}")
    return _laid_over(_values(path.parent / base), values)


def _laid_over(base, changes):
    """`base` with what `changes` says otherwise, section by section."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return base | {key: _laid_over(base.get(key), value) for key, value in changes.items()}


def to_dict(config):
    """A config or one of its sections as plain nested dicts and lists, for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))  # JSON makes tuples lists
