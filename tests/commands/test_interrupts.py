"""Ctrl-C, also where Python cannot raise it."""

import ctypes
import signal
import sys

import pytest

from nnunet_nacl import cli
from nnunet_nacl.commands import doctor


@pytest.fixture
def interrupted_by(monkeypatch):
    def run(command):
        monkeypatch.setattr(doctor, "run", command)
        return cli.main(["doctor"])

    # a job in the background of a shell is started with interrupts ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield run
    signal.signal(signal.SIGINT, before)


def interrupt(*_):
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt(interrupted_by, capsys):
    assert interrupted_by(interrupt) == 130
    assert capsys.readouterr().err == "nnunet-nacl: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_within_a_callback_of_c_that_leaves_another_error(interrupted_by, capsys):
    """As llvmlite's callbacks while numba compiles: Python cannot raise it there, and the compiler fails over what it lacks."""

    def compiling(_):
        ctypes.CFUNCTYPE(None)(interrupt)()
        raise RuntimeError("no compiled object yet for <Library '_runs'>")

    hook = sys.unraisablehook
    assert interrupted_by(compiling) == 130
    assert capsys.readouterr().err == "nnunet-nacl: interrupted\n"
    assert sys.unraisablehook is hook


def test_an_error_without_interrupt_is_raised(interrupted_by):
    def failing(_):
        raise RuntimeError("no compiled object yet")

    with pytest.raises(RuntimeError, match="no compiled object"):
        interrupted_by(failing)
