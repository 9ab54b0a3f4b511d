"""The examples in the docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import biorep

MODULES = [m.name for m in pkgutil.walk_packages(biorep.__path__, "biorep.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    count = sum(len(t.examples) for name in MODULES for t in finder.find(importlib.import_module(name)))
    assert count > 10
