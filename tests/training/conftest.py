"""Real trainers on the phantom."""

import os
from unittest import mock

import pytest
from real_trainers import build


@pytest.fixture
def make(nnunet):
    """Build a trainer in this process, with nnU-Net's variables set as long as the test runs."""
    with mock.patch.dict(os.environ, nnunet.environment | {"nnUNet_n_proc_DA": "0"}):
        yield lambda trainer, dataset=None: build(trainer, nnunet.preprocessed, dataset)
