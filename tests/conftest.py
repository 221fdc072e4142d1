"""Fixtures of more than one test file."""

import pytest


@pytest.fixture
def write(tmp_path):
    """A function that writes a text to a file in the test's folder and returns its path."""

    def put(text, name="01_01.bvh"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put
