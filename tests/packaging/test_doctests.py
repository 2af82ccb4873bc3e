"""The examples in the docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import nnunet_nacl

# a script that has to run where this package cannot be imported
NOT_IMPORTED = {"nnunet_nacl.training.predict_alone"}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(nnunet_nacl.__path__, "nnunet_nacl.")
    if module.name not in NOT_IMPORTED and not module.name.startswith("nnunet_nacl._trainers")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    found = [
        test
        for name in MODULES
        for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
        if test.examples
    ]
    assert len(found) > 3
