"""Reading softmax files: what nnU-Net writes is read back exactly, and everything else is refused by name."""

import io
import itertools
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation import probabilities as module
from nnunet_nacl.evaluation import zip_member
from nnunet_nacl.evaluation.probabilities import open_probabilities, read_probabilities
from nnunet_nacl.evaluation.read_ahead import DEPTH

SHAPE = (2, 3, 4)


@pytest.fixture
def probabilities():
    return np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)


@pytest.fixture(params=["isal", "zlib"])
def inflate(request, monkeypatch):
    """Both ways of inflating; zlib is what is left where isal has no wheel."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setattr(zip_member, "HAS_ISAL", False)


def write(path, values, order="C", compression=zipfile.ZIP_DEFLATED, level=None, version=None):
    """np.savez with a choice of order, compression and header version."""
    with (
        zipfile.ZipFile(path, "w", compression, compresslevel=level) as archive,
        archive.open("probabilities.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array(member, np.asarray(values, order=order), version=version)


def write_header(path, size=0, compression=zipfile.ZIP_DEFLATED, **header):
    """A file with this npy header and ``size`` zero bytes of data."""
    content = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (3, *SHAPE)} | header
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("probabilities.npy", content.getvalue() + bytes(size))


def reassemble(file):
    """All blocks of a file, put where they say they belong, in the order of arrival."""
    values = np.full((file.num_channels, file.voxels), np.nan, file.dtype)
    arrived = []
    for channel, start, run in file.blocks():
        assert run.ndim == 1 and run.flags.c_contiguous and run.flags.writeable and run.flags.aligned
        assert run.dtype == file.dtype and run.dtype.isnative
        values[channel, start : start + len(run)] = run
        arrived.append((channel, start, len(run)))
    assert arrived == sorted(arrived)
    assert sum(length for _, _, length in arrived) == values.size
    return values.reshape(file.num_channels, *file.spatial_shape)


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


@given(data=st.data())
def test_blocks_put_together_are_what_numpy_loads(tmp_path_factory, data):
    shape = data.draw(
        st.one_of(
            st.tuples(*[st.integers(1, 5)] * 4),
            st.tuples(*[st.integers(1, 9)] * 3),
            st.tuples(*[st.integers(1, 3)] * 5),
        )
    )
    dtype = data.draw(st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape).astype(dtype)
    values[values < data.draw(st.sampled_from([0, 0.5, 0.99]))] = 0  # the more zeros, the better it packs
    path = tmp_path_factory.mktemp("property") / "case.npz"
    write(
        path,
        values,
        order=data.draw(st.sampled_from("CF")),
        compression=data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])),
        level=data.draw(st.integers(0, 9)),
        version=data.draw(st.sampled_from([(1, 0), (2, 0)])),
    )
    spatial = shape[1:] if len(shape) > 3 else data.draw(st.sampled_from([shape[1:], (1, *shape[1:])]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", data.draw(st.sampled_from([8, 40, 2**10, 2**20])))
        patch.setattr(zip_member, "_INPUT_BYTES", data.draw(st.sampled_from([1, 7, 2**18])))
        if data.draw(st.booleans()):
            patch.setattr(zip_member, "HAS_ISAL", False)
        file = open_probabilities(path, shape[0], spatial)
        first, again = reassemble(file), reassemble(file)
        channels = list(file.channels())
    expected = np.load(path)["probabilities"].reshape(shape[0], *spatial)
    assert file.dtype == (np.float64 if dtype.endswith("8") else np.float32)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(again, expected)
    np.testing.assert_array_equal(np.stack(channels), expected)
    np.testing.assert_array_equal(read_probabilities(path, shape[0], spatial), expected)


def test_several_blocks_a_channel(tmp_path, inflate):
    """At the real block size, with a last block that is not full."""
    values = np.random.default_rng(0).random((2, 3, 300, 400)).astype(np.float32)
    np.savez_compressed(tmp_path / "case.npz", probabilities=values)
    file = open_probabilities(tmp_path / "case.npz", 2, (3, 300, 400))
    np.testing.assert_array_equal(reassemble(file), values)
    assert [len(run) for _, _, run in file.blocks()] == [2**18, 360_000 - 2**18] * 2


def test_blocks_and_channels_are_the_callers_to_keep(tmp_path):
    values = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
    np.savez_compressed(tmp_path / "case.npz", probabilities=values)
    file = open_probabilities(tmp_path / "case.npz", 4, SHAPE)
    for kept in (list(file.channels()), [run for _, _, run in file.blocks()]):
        for number, array in enumerate(kept):
            array[...] = number
        assert [array.max() for array in kept] == [0, 1, 2, 3]


def test_two_passes_side_by_side(tmp_path, probabilities):
    np.savez_compressed(tmp_path / "case.npz", probabilities=probabilities)
    file = open_probabilities(tmp_path / "case.npz", 3, SHAPE)
    for (_, _, one), (_, _, other) in zip(file.blocks(), file.blocks(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_zip64_records(tmp_path, probabilities, monkeypatch, inflate):
    """The header forms of files above 4 GiB, at a limit of 100 bytes in place of 4 GiB."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    np.savez_compressed(tmp_path / "case.npz", other=probabilities, probabilities=probabilities)
    monkeypatch.undo()
    content = (tmp_path / "case.npz").read_bytes()
    assert b"PK\6\6" in content and b"\xff\xff\xff\xff" in content[content.index(b"PK\1\2") :]
    np.testing.assert_array_equal(read_probabilities(tmp_path / "case.npz", 3, SHAPE), probabilities)


def test_other_members_before_and_bytes_in_front(tmp_path, probabilities, inflate):
    np.savez_compressed(tmp_path / "case.npz", a=np.zeros(1000), probabilities=probabilities, z=np.ones(3))
    content = (tmp_path / "case.npz").read_bytes()
    (tmp_path / "case.npz").write_bytes(b"in front" + content)
    np.testing.assert_array_equal(read_probabilities(tmp_path / "case.npz", 3, SHAPE), probabilities)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_an_abandoned_pass_leaves_no_thread_and_no_open_file(tmp_path, taken, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 8)
    np.savez_compressed(tmp_path / "case.npz", probabilities=np.zeros((3, *SHAPE), np.float32))
    opened = []

    class Watched(zip_member.MemberStream):
        def __enter__(self):
            opened.append(self)
            return super().__enter__()

    monkeypatch.setattr(module, "MemberStream", Watched)
    file = open_probabilities(tmp_path / "case.npz", 3, SHAPE)
    for iterator in (file.blocks(), file.channels()):
        list(itertools.islice(iterator, taken))
        del iterator
    assert len(opened) == (3 if taken else 1)
    assert all(stream._file.closed for stream in opened)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("compressed", [True, False])
def test_memory_does_not_grow_with_the_number_of_channels(tmp_path, compressed):
    def peak(num_channels):
        shape = (8, 256, 256)  # 2 MiB a channel: two blocks
        path = tmp_path / f"{num_channels}.npz"
        values = np.random.default_rng(0).random((num_channels, *shape), np.float32)
        write(path, values, compression=zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED, level=1)
        del values
        tracemalloc.start()
        for _ in open_probabilities(path, num_channels, shape).blocks():
            pass
        _, of_blocks = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in open_probabilities(path, num_channels, shape).channels():
            pass
        _, of_channels = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return of_blocks, of_channels

    few, many = peak(16), peak(48)  # either is larger than what is read ahead
    held = (DEPTH + 4) * 2**20
    assert max(few[0], many[0]) < held
    assert max(few[1], many[1]) < held + 2 * 2**21


REFUSED = {
    "missing": (lambda path: None, "cannot be read .*No such file"),
    "folder": (lambda path: path.mkdir(), "cannot be read"),
    "empty": (lambda path: path.touch(), "is truncated or no npz file"),
    "text": (lambda path: path.write_text("hello"), "is truncated or no npz file"),
    "npy": (lambda path: path.write_bytes(b"\x93NUMPY\1\0"), "is truncated or no npz file"),
    "no arrays": (lambda path: np.savez(path), "expected an array `probabilities`, but the file holds nothing"),
    "a line break in a name": (
        lambda path: np.savez(path, **{"soft\nmax": 1}),
        r"but the file holds 'soft\\nmax'",
    ),
    "no npy inside": (lambda path: zip_of(path, b"hello, no array here"), "is no plain array"),
    "empty member": (lambda path: zip_of(path, b""), "is no plain array"),
    "endless header": (lambda path: zip_of(path, b"\x93NUMPY\2\0\xff\xff\xff\x7f" + b" " * 2**16), "is no plain array"),
    "nested header": (lambda path: zip_of(path, npy_header(b"(" * 9000)), "is no plain array"),
    "code in the header": (lambda path: zip_of(path, npy_header(b"__import__('os').getcwd()")), "is no plain array"),
    "object": (lambda path: write_header(path, descr="|O"), r"floating point .* dtype object"),
    "integer": (lambda path: write_header(path, descr="<i4"), r"floating point .* dtype int32"),
    "complex": (lambda path: write_header(path, descr="<c8"), r"floating point .* dtype complex64"),
    "long double": (
        lambda path: write_header(path, descr="<f16"),
        r"floating point .* dtype (float128|longdouble)|plain",
    ),
    "structured": (lambda path: write_header(path, descr=[("a", "<f4")]), "floating point .* dtype"),
    "scalar": (lambda path: write_header(path, 4, shape=()), r"expected 3 channels.*shape \(\)"),
    "channels": (lambda path: write_header(path, 384, shape=(4, *SHAPE)), r"expected 3 channels.*\(4, 2, 3, 4\)"),
    "channels last": (lambda path: write_header(path, 288, shape=(*SHAPE, 3)), r"expected 3 channels.*\(2, 3, 4, 3\)"),
    "transposed": (
        lambda path: write_header(path, 288, shape=(3, 4, 3, 2)),
        r"expected shape \(3, 2, 3, 4\).*\(3, 4, 3, 2\)",
    ),
    "huge": (lambda path: write_header(path, shape=(3, 10**9, 10**9, 10**9)), r"expected shape \(3, 2, 3, 4\)"),
    "negative": (lambda path: write_header(path, shape=(3, -2, -3, 4)), r"expected shape \(3, 2, 3, 4\)"),
    "too few bytes": (lambda path: write_header(path, 287), "expected 288 bytes .* but the file holds 287"),
    "too many bytes": (lambda path: write_header(path, 2**20), "expected 288 bytes .* but the file holds 1048576"),
    "bzip2": (lambda path: write_header(path, 288, zipfile.ZIP_BZIP2), "got method 12 .bzip2."),
    "lzma": (lambda path: write_header(path, 288, zipfile.ZIP_LZMA), "got method 14 .lzma."),
    "encrypted": (lambda path: change_flags(path, 0x1), "got an encrypted one"),
    "strong encryption": (lambda path: change_flags(path, 0x40), "is truncated or no npz file .*strong encryption"),
}


def zip_of(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("probabilities.npy", content)


def npy_header(text):
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


def change_flags(path, flags):
    """Set flags of the member, in its own header and in the directory."""
    write_header(path, 288)
    content = bytearray(path.read_bytes())
    content[6] |= flags
    content[content.index(b"PK\1\2") + 8] |= flags
    path.write_bytes(content)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_when_it_is_opened(tmp_path, name):
    """One line that names the file, and little is read: whatever the file promises."""
    make, message = REFUSED[name]
    make(tmp_path / "case.npz")
    tracemalloc.start()
    with pytest.raises(InputError, match=f"case.npz: .*({message})") as refused:
        open_probabilities(tmp_path / "case.npz", 3, SHAPE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "\n" not in str(refused.value)
    assert peak < 2**22


def patch_directory(path, offset, value, length=4):
    """Change a field of the member in the zip's directory (offsets from APPNOTE.TXT 4.3.12)."""
    content = bytearray(path.read_bytes())
    position = content.index(b"PK\1\2") + offset
    content[position : position + length] = value.to_bytes(length, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("order", ["C", "F"])
def test_wrong_checksum(tmp_path, probabilities, compression, order, inflate):
    write(tmp_path / "case.npz", probabilities, order, compression)
    patch_directory(tmp_path / "case.npz", 16, 12345)
    file = open_probabilities(tmp_path / "case.npz", 3, SHAPE)
    with pytest.raises(InputError, match="case.npz: is damaged .its checksum is wrong"):
        list(file.blocks())
    with pytest.raises(InputError, match="case.npz: is damaged .its checksum is wrong"):
        list(file.channels())


def test_stream_longer_than_its_size(tmp_path, inflate):
    """A deflate stream of 400 zeros whose directory promises 288, as does the header."""
    write_header(tmp_path / "case.npz", 400)
    size = zipfile.ZipFile(tmp_path / "case.npz").infolist()[0].file_size
    patch_directory(tmp_path / "case.npz", 24, size - 112)
    with pytest.raises(InputError, match="case.npz: is damaged .it is longer than promised"):
        read_probabilities(tmp_path / "case.npz", 3, SHAPE)


def test_stream_shorter_than_its_size(tmp_path, inflate):
    write_header(tmp_path / "case.npz", 200)
    size = zipfile.ZipFile(tmp_path / "case.npz").infolist()[0].file_size
    patch_directory(tmp_path / "case.npz", 24, size + 88)
    with pytest.raises(InputError, match="case.npz: is damaged .it ends too early"):
        read_probabilities(tmp_path / "case.npz", 3, SHAPE)


def test_file_cut_off_after_it_was_opened(tmp_path, probabilities, inflate):
    np.savez_compressed(tmp_path / "case.npz", probabilities=probabilities)
    file = open_probabilities(tmp_path / "case.npz", 3, SHAPE)
    (tmp_path / "case.npz").write_bytes((tmp_path / "case.npz").read_bytes()[:300])
    with pytest.raises(InputError, match="case.npz: is damaged"):
        list(file.blocks())
    (tmp_path / "case.npz").unlink()
    with pytest.raises(InputError, match="case.npz: cannot be read"):
        list(file.blocks())


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_files_give_the_right_values_or_an_input_error(tmp_path_factory, data):
    """Changed, removed and inserted bytes: nothing else is ever raised, and what is returned is what was saved."""
    values = np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)
    values[values < 0.5] = 0
    path = tmp_path_factory.getbasetemp() / "fuzz.npz"
    compression = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    write(path, values, data.draw(st.sampled_from("CF")), compression)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["change", "remove", "insert"]))
        if kind == "change":
            content[position] = data.draw(st.integers(0, 255))
        elif kind == "remove":
            del content[position : position + data.draw(st.integers(1, 20))]
        else:
            content[position:position] = data.draw(st.binary(min_size=1, max_size=20))
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):
            patch.setattr(zip_member, "HAS_ISAL", False)
        try:
            read = read_probabilities(path, 3, SHAPE)
        except InputError as error:
            assert "fuzz.npz" in str(error) and "\n" not in str(error)
        else:
            np.testing.assert_array_equal(read, values)
