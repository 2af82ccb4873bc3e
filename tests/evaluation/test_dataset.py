"""The labels of dataset.json mean what they mean to nnU-Net."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.evaluation.evaluate_predictions import label_or_region_to_key
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.evaluation.labels import ordinary_labels

PLANS = {
    "dataset_name": "Dataset711_Lists",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "configurations": {},
}


def load(folder, labels, **more):
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"} | more))
    (folder / "plans.json").write_text(json.dumps(PLANS))
    return load_dataset(folder / "dataset.json", folder / "plans.json")


@pytest.mark.parametrize("ignore", [{}, {"ignore": 3}])
def test_a_list_of_one_label_is_that_label(ignore, tmp_path):
    plain = load(tmp_path, {"background": 0, "kidney": 1, "tumour": 2} | ignore)
    assert load(tmp_path, {"background": 0, "kidney": [1], "tumour": [2]} | ignore) == plain
    assert load(tmp_path, {"background": 0, "tumour": [2], "kidney": 1} | ignore) == plain
    assert plain.target_names == {"0": "background", "1": "kidney", "2": "tumour"}
    assert plain.regions is None


def value(largest=4):
    """A label, a list of one, or a list of several."""
    one = st.integers(1, largest)
    return st.one_of(one, one.map(lambda number: [number]), st.lists(one, min_size=1, max_size=3))


ODD = st.sampled_from([1.0, "1", True, [], [0], [0, 1], (1,), None, [1.0, 2], ["1", 2], -1, [1, [2]]])


@given(
    st.dictionaries(
        st.sampled_from(["background", "a", "b", "c", "ignore"]),
        st.one_of(st.integers(0, 5), value(), ODD),
        min_size=1,
        max_size=5,
    ),
    st.one_of(st.none(), st.lists(st.one_of(st.integers(0, 5), ODD), max_size=4)),
    st.sampled_from([0, 0, 0, 1, "0", [0]]),
)
def test_labels_read_without_nnunet_are_those_that_nnunet_reads(labels, order, background):
    """Whatever is taken for ordinary; all else nnU-Net is asked itself."""
    dataset = {"labels": labels | {"background": background}} | (
        {} if order is None else {"regions_class_order": order}
    )
    ordinary = ordinary_labels(dataset)
    if ordinary is None:
        return
    manager = PlansManager(PLANS).get_label_manager(dataset)
    assert ordinary.ignore_label == manager.ignore_label
    assert (ordinary.regions is not None) == manager.has_regions
    if manager.has_regions:
        assert ordinary.regions == manager.foreground_regions
        assert ordinary.order == manager.regions_class_order
        assert [str(region) for region in ordinary.regions] == list(map(label_or_region_to_key, ordinary.regions))


@given(st.lists(value(), min_size=1, max_size=4), st.booleans(), st.booleans(), st.randoms())
def test_channels_are_nnunets(tmp_path_factory, values, ignore, ordered, random):
    """As many channels as nnU-Net's label manager has, of the same labels; what it refuses, we refuse."""
    folder = tmp_path_factory.mktemp("dataset")
    labels = {"background": 0} | {f"name_{number}": held for number, held in enumerate(values)}
    if ignore:
        labels["ignore"] = max(int(np.max(held)) for held in values) + 1
    more = {"regions_class_order": [random.randint(1, 4) for _ in values]} if ordered else {}
    try:
        manager = PlansManager(PLANS).get_label_manager({"labels": labels, "file_ending": ".nii.gz"} | more)
    except Exception:
        with pytest.raises(InputError, match="nnU-Net refuses these labels"):
            load(folder, labels, **more)
        return
    try:
        dataset = load(folder, labels, **more)
    except InputError as error:
        # nnU-Net trains these, but cannot tell their classes or regions apart afterwards
        assert "expected consecutive labels" in str(error) or "expected regions that differ" in str(error)
        return
    assert dataset.num_channels == manager.num_segmentation_heads
    assert (dataset.regions is not None) == manager.has_regions
    assert dataset.ignore_label == manager.ignore_label
    if manager.has_regions:
        assert dataset.region_labels == tuple(more["regions_class_order"])
        assert [set(region) for region in dataset.regions] == [
            set(np.ravel(each)) for each in manager.foreground_regions
        ]
    else:
        assert list(dataset.target_names) == [str(label) for label in manager.all_labels]


def test_a_small_evaluation_does_without_pytorch(phantom_task, dataset_files, tmp_path):
    """PyTorch, SciPy's statistics and skimage take seconds to import, and hundreds of MiB in each process."""
    program = (
        "import sys; from nnunet_nacl.evaluation.folder import evaluate_folder; "
        "from nnunet_nacl.evaluation.summary import summarize; summarize(evaluate_folder(*sys.argv[1:])); "
        "print(*({'torch', 'scipy.stats', 'skimage', 'matplotlib', 'scipy.spatial'} & set(sys.modules)))"
    )
    files = [phantom_task / "labelsTr", phantom_task / "posteriorTr", *dataset_files]
    found = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []


def test_regions_of_the_same_voxels_keep_their_names(tmp_path):
    """nnU-Net has the keys `1` and `(1,)` for them."""
    labels = {"background": 0, "whole": [1, 2], "core": 1, "listed": [1]}
    content = {"labels": labels, "regions_class_order": [2, 1, 1], "file_ending": ".nii.gz"}
    plans = {"dataset_name": "Dataset001_A", "image_reader_writer": "SimpleITKIO", "configurations": {}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    found = load_dataset(tmp_path / "dataset.json", tmp_path / "plans.json")
    assert found.target_names == {"(1, 2)": "whole", "1": "core", "(1,)": "listed"}
    assert found.regions == ((1, 2), (1,), (1,))
