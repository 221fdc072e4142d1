"""The code of a notebook, to be read by tests."""

import ast
import json
import re
from pathlib import Path


def notebook_source(path):
    """The code cells of a notebook as one Python source, without magics."""
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return re.sub(r"^\s*[%!].*$", "", code, flags=re.MULTILINE)


def imports(source):
    """(module, name) of every `from module import name` in Python source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)
