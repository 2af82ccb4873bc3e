"""What fuzzing (tests/fuzz) has found in the evaluator's readers, each as its smallest input."""

import gzip
import json
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from mutations import Member, npz_members, zip_of
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from targets import DATASET, DESCRIBED, PLANS, SHAPE, print_tables, result_of, softmax, write_labels

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, write_result
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.evaluation.fingerprint import fingerprint
from nnunet_nacl.evaluation.label_files import read_label_map
from nnunet_nacl.evaluation.memory import bytes_needed
from nnunet_nacl.evaluation.probabilities import read_probabilities
from nnunet_nacl.evaluation.store import CaseStore
from nnunet_nacl.evaluation.summary import summarize


def softmax_member(**fields):
    """Return the member of a softmax file, with fields that lie."""
    from dataclasses import replace

    (member,) = npz_members({"probabilities": softmax()})
    return replace(member, **fields)


def header(text, version=(1, 0)):
    """Return a member with this npy header and no data."""
    width = 2 if version == (1, 0) else 4
    return Member.of("probabilities.npy", b"\x93NUMPY" + bytes(version) + len(text).to_bytes(width, "little") + text)


SOFTMAX = {
    "a zip of version 6.4": softmax_member(version=64),
    "packed by no known method": softmax_member(method=99),
    "patched data": softmax_member(flags=0x20),
    "strong encryption": softmax_member(flags=0x40),
    "encrypted": softmax_member(flags=1),
    "a name that is not UTF-8": softmax_member(name=b"\xff", flags=0x800),
    "a zip64 field cut short": softmax_member(extra=struct.pack("<2HQ", 1, 8, 1)[:6], size=2**32 - 1),
    "a header that Python cannot parse": header(b"{'descr': '<f4', 'shape': ("),
    "a header of nothing": header(b""),
    "a header of an unknown version": header(
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 3, 4)}", (4, 0)
    ),
    "a shape below 0": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, -2, 3, 4)}"),
    "a shape beyond all memory": header(
        b"{'descr': '<f4', 'fortran_order': True, 'shape': (3, 1000000000000, 1000000000000)}"
    ),
}


@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax_file(name, tmp_path):
    """Before a case is evaluated, its memory is estimated and its fingerprint taken: neither may fail."""
    path = tmp_path / "case.npz"
    path.write_bytes(zip_of([SOFTMAX[name]]))
    case = Case("case", path, path)
    assert bytes_needed(case) == 0
    assert isinstance(fingerprint(case, {}, DESCRIBED), str)
    with pytest.raises(InputError, match=r"^[^\n]*case\.npz: [^\n]*$"):
        read_probabilities(path, 3, SHAPE)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return result_of(tmp_path_factory.mktemp("bins") / "run")


@pytest.fixture
def stored(result, tmp_path):
    """The arrays of a result file, to change."""
    with np.load(write_result(result, tmp_path)) as arrays:
        return dict(arrays)


def changed(values, place, value):
    values = values.copy()
    values[place] = value
    return values


BINS = {
    "texts in place of counts": lambda a: a | {"top_count": a["top_count"].astype("U3")},
    "another number of cases": lambda a: a | {"hd95_mm": a["hd95_mm"][:1]},
    "no case": lambda a: a | {"case": a["case"][:0]},
    "a case twice": lambda a: a | {"case": changed(a["case"], 1, a["case"][0])},
    "a case's name that cannot be written": lambda a: a | {"case": changed(a["case"], 1, "\ud800")},
    "an axis less": lambda a: a | {"confusion": a["confusion"][:, 0]},
    "no problem": lambda a: {name: values[:, :0] if values.ndim > 1 and name != "hd95_mm" else values for name, values in a.items()},
    "counts below 0": lambda a: a | {"top_count": changed(a["top_count"], (0, 0, 0, 0), -1)},
    "a voxel more in one count": lambda a: a | {"grid_count": a["grid_count"] + (a["grid_count"] > 0)},
    "a voxel more of a class": lambda a: a | {"class_count": changed(a["class_count"], (0, 0, 0, 1, 1), 40)},
    "more voxels correct than there are": lambda a: a | {"top_correct": a["top_count"] + 1},
    "more confidence than voxels": lambda a: a | {"top_confidence": a["top_confidence"] + 30},
    "infinite": lambda a: a | {"nll": changed(a["nll"], (0, 0, 0), np.inf)},
    "not a number": lambda a: a | {"brier": changed(a["brier"], (0, 0, 0), np.nan)},
    "a volume of 0": lambda a: a | {"voxel_volume_mm3": a["voxel_volume_mm3"] * 0},
    "an infinite distance": lambda a: a | {"hd95_mm": a["hd95_mm"] + np.inf},
    "another dtype": lambda a: a | {"ignored": a["ignored"].astype(np.float32)},
    "a protocol that is a list": lambda a: a | {"protocol": np.array("[]")},
    "a protocol nested too deeply": lambda a: a | {"protocol": np.array("[" * 10**5)},
    "NaN in the protocol": lambda a: a | {"protocol": np.array('{"boundary_mm": NaN}')},
    "labels without names": lambda a: a | {"protocol": np.array('{"labels": {"0": 1}}')},
    "files that are no mapping": lambda a: a | {"files": np.array("3")},
    "a version that is a text": lambda a: a | {"schema_version": np.array("3")},
    "objects": lambda a: a | {"case": np.array([{}, {}, {}], dtype=object)},
}  # fmt: skip


@pytest.mark.parametrize("name", BINS)
def test_bins_file(name, result, stored, tmp_path):
    """Its checksums are right, and yet no voxels can have given it."""
    path = tmp_path / BINS_FILE
    np.savez_compressed(path, **BINS[name](stored))
    with pytest.raises(InputError, match=r"^[^\n]*calibration_bins\.npz: cannot be read[^\n]*$"):
        read_result(path)
    assert CaseStore(tmp_path, result.protocol).load(result.cases[0].fingerprint) is None


def test_bins_file_whose_header_is_cut_short(stored, tmp_path):
    """np.load reads as much as a header asks for, and checks the checksum of a member at its end only, which it does not reach then."""
    path = tmp_path / BINS_FILE
    content = zip_of(npz_members(stored, deflated=False))
    damaged = content.replace(b"'shape': (3, 1, 8, 1538), }", b"'shape': (1, 1, 8, 1538), }")
    assert damaged != content
    path.write_bytes(damaged)
    assert len(np.load(path)["grid_count"]) == 1
    with pytest.raises(InputError, match="cannot be read"):
        read_result(path)


@pytest.mark.parametrize("flags", [1, 0x20, 0x40])
def test_bins_file_that_zipfile_cannot_open(flags, stored, tmp_path):
    from dataclasses import replace

    path = tmp_path / BINS_FILE
    path.write_bytes(zip_of([replace(member, flags=flags) for member in npz_members(stored)]))
    with pytest.raises(InputError, match="cannot be read"):
        read_result(path)


def write_description(folder, dataset, plans=PLANS):
    paths = folder / "dataset.json", folder / "plans.json"
    for path, content in zip(paths, (dataset, plans), strict=True):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return paths


DESCRIPTIONS = {
    "labels that are a list": DATASET | {"labels": ["background"]},
    "labels that are a number": DATASET | {"labels": 3},
    "a label that is no number": DATASET | {"labels": {"background": 0, "body": "b"}},
    "a label that is infinite": DATASET | {"labels": {"background": 0, "body": 1e400}},
    "a label and a half, which nnU-Net takes for 1": DATASET | {"labels": {"background": 0, "body": 1.5}},
    "a name over two lines": DATASET | {"labels": {"background": 0, "bo\ndy": 1}},
    "a name that cannot be written": DATASET | {"labels": {"background": 0, "\ud800": 1}},
    "regions without an order": DATASET | {"labels": {"background": 0, "whole": [1, 2], "core": [2]}},
    "nested too deeply": "[" * 10**5,
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_description(name, tmp_path):
    with pytest.raises(InputError, match=r"^[^\n]*dataset\.json: [^\n]*$"):
        load_dataset(*write_description(tmp_path, DESCRIPTIONS[name]))


def test_a_name_that_looks_like_markup_is_printed_as_it_is(result, capsys):
    summary = summarize(result)
    summary["protocol"]["labels"]["1"] = "[/red]"
    print_tables(summary)  # rich raised MarkupError


@pytest.fixture(params=["SimpleITKIO", "NibabelIO"])
def dataset(request, tmp_path):
    return load_dataset(*write_description(tmp_path, DATASET, PLANS | {"image_reader_writer": request.param}))


def test_a_label_file_is_held_against_its_checksum(dataset, tmp_path):
    """ITK and nibabel do not mind a wrong CRC-32 at the end of a gzip file: a changed voxel was a changed score."""
    path = tmp_path / "case.nii.gz"
    write_labels(path, np.ones((64, 64, 64)))  # of a smaller file ITK notices
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))
    path.write_bytes(content)
    whole = read_label_map(path, dataset).values
    content[bytes(content).rindex(bytes([1]) * 24)] ^= 2
    path.write_bytes(content)
    read, _ = recursive_find_reader_writer_by_name(dataset.reader)().read_seg(str(path))
    assert np.count_nonzero(read[0] != whole) >= 1
    with pytest.raises(InputError, match=r"case\.nii\.gz: .* cannot read this label file"):
        read_label_map(path, dataset)


@pytest.mark.parametrize(("offset", "value"), [(84, float("nan")), (80, float("inf"))])
def test_a_spacing_that_is_no_length(offset, value, tmp_path):
    """pixdim of the NIfTI header, which nibabel hands on; NaN ended in a message about something else, infinity in the boundary set."""
    dataset = load_dataset(*write_description(tmp_path, DATASET, PLANS | {"image_reader_writer": "NibabelIO"}))
    path = tmp_path / "case.nii.gz"
    write_labels(path, np.ones(SHAPE))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[offset : offset + 4] = struct.pack("<f", value)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"case\.nii\.gz: (expected a spacing above 0 mm|.* cannot read)"):
        read_label_map(path, dataset)


def test_several_label_maps_in_one_file(tmp_path):
    """Of a 4D file the first volume was evaluated, and the others passed over."""
    dataset = load_dataset(*write_description(tmp_path, DATASET))
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((2, *SHAPE), np.uint8), isVector=False), str(tmp_path / "case.nii.gz")
    )
    with pytest.raises(
        InputError, match=r"case\.nii\.gz: expected one label map, but got an array of shape \(2, 2, 3, 4\)"
    ):
        read_label_map(tmp_path / "case.nii.gz", dataset)
