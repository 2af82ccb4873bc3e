"""Reading softmax files: what nnU-Net writes is read back exactly, and everything else is refused by name."""

import io
import zipfile

import numpy as np
import pytest

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.probabilities import read_probabilities

SHAPE = (2, 3, 4)


@pytest.fixture
def probabilities():
    return np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_back_what_was_saved(tmp_path, probabilities, save, dtype, order):
    stored = np.asarray(probabilities.astype(dtype), order=order)
    save(tmp_path / "case.npz", probabilities=stored)
    np.testing.assert_array_equal(read_probabilities(tmp_path / "case.npz", 3, SHAPE), stored)


def test_two_dimensional_file(tmp_path, probabilities):
    np.savez_compressed(tmp_path / "case.npz", probabilities=probabilities[:, 0])
    assert read_probabilities(tmp_path / "case.npz", 3, (1, 3, 4)).shape == (3, 1, 3, 4)


def test_other_array(tmp_path, probabilities):
    np.savez_compressed(tmp_path / "case.npz", softmax=probabilities)
    with pytest.raises(InputError, match="case.npz: expected an array `probabilities`, but the file holds softmax"):
        read_probabilities(tmp_path / "case.npz", 3, SHAPE)


def test_wrong_channel_count(tmp_path, probabilities):
    np.savez_compressed(tmp_path / "case.npz", probabilities=probabilities)
    with pytest.raises(InputError, match=r"expected 4 channels.*shape \(3, 2, 3, 4\)"):
        read_probabilities(tmp_path / "case.npz", 4, SHAPE)


def test_wrong_shape(tmp_path, probabilities):
    np.savez_compressed(tmp_path / "case.npz", probabilities=probabilities)
    with pytest.raises(InputError, match=r"expected shape \(3, 4, 3, 2\).*has \(3, 2, 3, 4\)"):
        read_probabilities(tmp_path / "case.npz", 3, (4, 3, 2))


def test_integers(tmp_path):
    np.savez_compressed(tmp_path / "case.npz", probabilities=np.ones((3, *SHAPE), np.uint8))
    with pytest.raises(InputError, match=r"floating point `probabilities` \(.*\), but got dtype uint8"):
        read_probabilities(tmp_path / "case.npz", 3, SHAPE)


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the file was unpickled",))

    np.savez(tmp_path / "case.npz", probabilities=np.array([Bomb()], dtype=object))
    with pytest.raises(InputError, match="floating point|plain array"):
        read_probabilities(tmp_path / "case.npz", 3, SHAPE)


def test_every_truncation_is_refused(tmp_path, probabilities):
    np.savez_compressed(tmp_path / "whole.npz", probabilities=probabilities)
    content = (tmp_path / "whole.npz").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "case.npz").write_bytes(content[:length])
        with pytest.raises(InputError, match="case.npz"):
            read_probabilities(tmp_path / "case.npz", 3, SHAPE)


def test_damage_inside_is_noticed(tmp_path, probabilities):
    np.savez_compressed(tmp_path / "case.npz", probabilities=probabilities)
    content = bytearray((tmp_path / "case.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "case.npz").write_bytes(content)
    with pytest.raises(InputError, match="case.npz: is damaged"):
        read_probabilities(tmp_path / "case.npz", 3, SHAPE)


def test_header_that_promises_too_much_is_refused_before_reading(tmp_path):
    """A shape larger than the label's is refused by its header; no memory is taken for it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (3, 10**6, 10**6, 10**3)}
    )
    with zipfile.ZipFile(tmp_path / "case.npz", "w") as archive:
        archive.writestr("probabilities.npy", header.getvalue())
    with pytest.raises(InputError, match="expected shape"):
        read_probabilities(tmp_path / "case.npz", 3, SHAPE)


def test_fewer_bytes_than_promised(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (3, *SHAPE)})
    with zipfile.ZipFile(tmp_path / "case.npz", "w") as archive:
        archive.writestr("probabilities.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(InputError, match="expected 288 bytes of `probabilities`, but the file holds 100"):
        read_probabilities(tmp_path / "case.npz", 3, SHAPE)
