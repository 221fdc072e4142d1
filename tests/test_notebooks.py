"""Notebooks read as lessons: short cells, few imports, and no text that code makes."""

import ast
import json

import pytest
from notebook_code import notebook_source
from working_tree import ROOT

MOST_LINES = 25  # of a cell
MOST_IMPORTS = 6  # statements of a notebook


def faults(notebook):
    """What in a notebook's code makes it hard to read, one sentence each."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    for number, cell in enumerate(cells):
        lines = len("".join(cell["source"]).splitlines())
        if lines > MOST_LINES:
            yield f"cell {number} has {lines} lines"
    nodes = [*ast.walk(ast.parse(notebook_source(notebook)))]
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    if len(imports) > MOST_IMPORTS:
        yield f"{len(imports)} import lines"
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    if "Markdown" in names:
        yield "code makes Markdown: prose belongs in a Markdown cell, numbers in a pandas table"


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_easy_to_read(notebook):
    assert not [*faults(notebook)]


def test_what_makes_a_notebook_hard_to_read_is_noticed(tmp_path):
    long = "\n".join(["pass"] * (MOST_LINES + 1))
    imports = "\n".join(["import torch"] * (MOST_IMPORTS + 1))
    told = 'Markdown(f"{1}")'
    wrong = {long: "cell 0 has 26 lines", imports: "7 import lines", told: "code makes Markdown"}
    for source, sentence in wrong.items():
        path = tmp_path / "notebook.ipynb"
        cell = {"cell_type": "code", "source": source}
        path.write_text(json.dumps({"cells": [cell]}))
        (fault,) = faults(path)
        assert fault.startswith(sentence)
