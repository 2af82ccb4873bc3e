"""Every reader of files that others made: damaged files are refused in one line, or read rightly, and whole ones are read.

``NNUNET_NACL_FUZZ=100`` tries a hundred times as many inputs; ``scripts/fuzz_readers.py`` goes on after a finding and counts.
"""

import gzip
import json
import os
import random
import tracemalloc
from dataclasses import replace

import mutations
import pytest
import targets
import targets_of_decisions
import targets_of_lesions
import targets_of_side_files
import targets_of_studies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets_by_name import TARGETS, make

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import read_result
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.fingerprint import fingerprint
from nnunet_nacl.evaluation.memory import BYTES_PER_VOXEL, bytes_needed
from nnunet_nacl.evaluation.probabilities import read_probabilities

EXAMPLES = 12 * int(os.environ.get("NNUNET_NACL_FUZZ", "1"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Targets by name, each made once."""
    found = {}

    def get(name):
        if name not in found:
            found[name] = make(name, tmp_path_factory.mktemp(name))
        return found[name]

    return get


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(made, name):
    target = made(name)

    # the same inputs in each run of the suite; NNUNET_NACL_FUZZ tries others
    @settings(
        max_examples=EXAMPLES, derandomize="NNUNET_NACL_FUZZ" not in os.environ, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 2**32))
    def one(seed):
        assert target.attempt(random.Random(seed)) in ("read", "refused")

    one()


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_read(made, name, monkeypatch):
    """The targets can tell: without damage, nothing is refused."""
    honest = {
        "damaged_bytes": lambda rng, content: content,
        "damaged_tree": lambda rng, tree: tree,
        "damaged_json": lambda rng, tree: json.dumps(tree).encode(),
        "damaged_members": lambda rng, members: members,
        "damaged_array": lambda rng, values, others: values,
        "damaged_nifti": lambda rng, content: gzip.decompress(content),
    }
    for module in (targets, targets_of_decisions, targets_of_lesions, targets_of_side_files, targets_of_studies):
        for function, replacement in honest.items():
            monkeypatch.setattr(module, function, replacement, raising=False)
    monkeypatch.setattr(
        targets, "npy", lambda rng, description, shape, data: mutations.npy(Agreeing(), description, shape, data)
    )
    monkeypatch.setattr(targets_of_studies.Configurations, "TEXTS", (b"",))
    target = made(name)
    for seed in range(12):
        rng = random.Random(seed)
        if name == "configuration":
            monkeypatch.setattr(rng, "randrange", lambda *_: 7)
        assert target.attempt(rng) == "read", seed


class Agreeing:
    """Takes the first of everything, which is what is true."""

    def choice(self, values):
        return values[0]

    def randrange(self, stop):
        return 1


@pytest.mark.parametrize("start", [b"", b"\x93NUMPY\2\0\xff\xff\xff\x7f"])
@pytest.mark.parametrize("name", ["probabilities", "case", "protocol", "top_count"])
def test_a_file_that_unpacks_to_gigabytes_takes_no_memory(made, tmp_path, name, start):
    """2 GiB in 2 MiB, in place of an array, or as its header."""
    members = mutations.npz_members(made("bins").arrays | {"probabilities": targets.softmax()})
    bomb = replace(mutations.bomb(start), name=f"{name}.npy".encode())
    path = tmp_path / "case.npz"
    path.write_bytes(mutations.zip_of([member for member in members if member.name != bomb.name] + [bomb]))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"case\.npz: "):
        read_probabilities(path, 3, targets.SHAPE) if name == "probabilities" else read_result(path)
    needed = bytes_needed(Case("case", path, path))
    assert fingerprint(Case("case", path, path), {}, targets.DESCRIBED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert needed == (0 if name == "probabilities" else BYTES_PER_VOXEL * 24)
    assert peak < 2**26
