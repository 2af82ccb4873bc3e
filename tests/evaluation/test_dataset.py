"""The labels of dataset.json mean what they mean to nnU-Net."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.dataset import load_dataset

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
