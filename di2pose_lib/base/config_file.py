"""Reading params.yaml into a `Config`: unknown keys and wrong types are refused by their path."""

import dataclasses
import math
import re
import sys
import types
import typing
from os.path import isdir
from pathlib import Path

from di2pose_lib.base.checks import require
from di2pose_lib.base.config import Config
from di2pose_lib.base.files import is_there


def _named_as_in_the_file(sentence, where):
    """A section's own refusal, with its fields named by their whole path."""
    wanted, got, value = sentence.partition("; got ")
    return re.sub(r"`(?:\w+\.)?(\w+)`", rf"`{where}.\1`", wanted) + got + value


def _build(kind, value, where):
    """`value` as `kind`: a dataclass, a tuple of numbers, or a plain type."""
    if dataclasses.is_dataclass(kind):
        what = f"`{where}` must be a section" if where else "parameters must be named sections"
        require(isinstance(value, dict), f"{what}; got {type(value).__name__}")
        hints = typing.get_type_hints(kind)
        fields = {f.name: f for f in dataclasses.fields(kind)}
        prefix = f"{where}." if where else ""
        unknown = [key for key in value if key not in fields]
        require(not unknown, f"`{prefix}{unknown[0] if unknown else ''}` is not a known key")
        optional = {n for n, f in fields.items() if f.default is not dataclasses.MISSING}
        missing = [name for name in fields if name not in value and name not in optional]
        require(not missing, f"`{prefix}{missing[0] if missing else ''}` is missing")
        parts = {k: _build(hints[k], v, f"{prefix}{k}") for k, v in value.items()}
        try:
            return kind(**parts)
        except ValueError as error:
            sentence = _named_as_in_the_file(str(error), where) if where else str(error)
            raise ValueError(sentence) from None
    if isinstance(kind, types.GenericAlias):
        require(isinstance(value, list), f"`{where}` must be a list; got {value!r}")
        return tuple(_build(kind.__args__[0], item, where) for item in value)
    if kind is float and type(value) is int:
        largest = int(sys.float_info.max)
        require(abs(value) <= largest, f"`{where}` must be finite as a float; got {value}")
        return float(value)
    require(type(value) is kind, f"`{where}` must be {kind.__name__}; got {value!r}")
    if kind is float:
        require(math.isfinite(value), f"`{where}` must be finite; got {value}")
    return value


def config_from_dict(values, source="params"):
    """A `Config` from nested dicts as YAML gives them.

    Raises:
        ValueError: one sentence naming `source` and the field, with wanted and got.
    """
    try:
        return _build(Config, values, "")
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


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
    plain = dataclasses.asdict(config)

    def lists(value):
        if isinstance(value, dict):
            return {key: lists(item) for key, item in value.items()}
        return [lists(item) for item in value] if isinstance(value, (tuple, list)) else value

    return lists(plain)
