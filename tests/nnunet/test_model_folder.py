"""The folds of a model, in the order in which files are given for them (`share --temperature`)."""

from nnunet_nacl.nnunet.model_folder import folds_with


def test_found_folds_are_in_the_order_of_their_numbers(tmp_path):
    numbers = ("all", 11, 2, 10, 0)
    for number in numbers:
        (tmp_path / f"fold_{number}").mkdir()
        (tmp_path / f"fold_{number}" / "checkpoint_final.pth").touch()
    assert folds_with(tmp_path, None, "checkpoint_final.pth") == ("fold_0", "fold_2", "fold_10", "fold_11", "fold_all")
    assert folds_with(tmp_path, ("10", "2", "10"), "checkpoint_final.pth") == ("fold_10", "fold_2")
