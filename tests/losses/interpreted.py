"""Skips tests where Triton's interpreter is not there: on macOS, and before Triton 3."""

import pytest


def skip_without_interpreter():
    """Skip unless the kernels are run by Triton's interpreter, for which tests/conftest.py asks."""
    pytest.importorskip("triton", reason="PyTorch brings Triton on Linux only")
    from nnunet_nacl.losses import triton_kernels

    if not type(triton_kernels.sum_up).__name__.startswith("Interpreted"):
        pytest.skip(
            "this Triton has no interpreter, or was imported before tests/conftest.py asked for it",
            allow_module_level=True,
        )
