"""The networks of several folds, one after another on a device other than the CPU; PyTorch's meta device, which only knows shapes, takes its place."""

import pytest
import torch
from models import Variant

from nnunet_nacl.errors import InputError
from nnunet_nacl.validation.model import open_model
from nnunet_nacl.validation.network import FoldPredictor


@pytest.mark.nnunet
def test_the_next_fold_is_loaded_after_a_prediction(nnunet, tmp_path):
    """nnU-Net moves the network in inference mode, and what PyTorch makes there cannot be changed outside of it: on a GPU, BatchNorm's buffers."""
    made = Variant(nnunet, tmp_path)
    with made.variables():
        for fold in range(2):
            made.trainer(fold)
        predictor = FoldPredictor(open_model(made.model, None, "checkpoint_final.pth"), torch.device("meta"))
        predictor.take("fold_0")
        with pytest.raises(InputError, match="nnU-Net cannot predict data of shape .* on meta"):
            predictor.logits(torch.zeros(1, 16, 16, 16))
        predictor.take("fold_1")
        assert {weights.device.type for weights in predictor._network.state_dict().values()} == {"meta"}


@pytest.mark.nnunet
def test_a_device_without_room_is_named(nnunet, tmp_path, monkeypatch):
    made = Variant(nnunet, tmp_path)
    with made.variables():
        made.trainer()
        predictor = FoldPredictor(open_model(made.model, None, "checkpoint_final.pth"), torch.device("meta"))

        def full(*arguments):
            raise RuntimeError("CUDA out of memory.")

        monkeypatch.setattr(torch.nn.Module, "to", full)
        with pytest.raises(InputError, match=r"network of nnUNetTrainer.* meta \(CUDA out of memory\.\)"):
            predictor.take("fold_0")
