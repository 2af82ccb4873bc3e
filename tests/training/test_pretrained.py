"""The mixins on the PretrainedTrainer of nnU-Net's main branch, which fine-tunes from nnssl checkpoints; 2.8.1 has none yet."""

import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from real_trainers import build, train

from nnunet_nacl.losses import CRaCLoss, NACLLoss
from nnunet_nacl.training.crac import HISTORY_KEY, CRaCMixin
from nnunet_nacl.training.trainers import NACLMixin

pytestmark = pytest.mark.nnunet
pretraining = pytest.importorskip("nnunetv2.training.nnUNetTrainer.pretraining.pretrainedTrainer")


class nnUNetTrainerNACLPretrained(NACLMixin, pretraining.PretrainedTrainer):
    pass


class nnUNetTrainerCRaCPretrained(CRaCMixin, pretraining.PretrainedTrainer):
    pass


@pytest.fixture
def make(nnunet, tmp_path):
    """Build a trainer whose plans name a pretrained checkpoint, as nnUNetv2_plan_like_dynamic writes them."""
    with mock.patch.dict(os.environ, nnunet.environment | {"nnUNet_n_proc_DA": "0"}):
        weights = build(nnUNetTrainer, nnunet.preprocessed).network.state_dict()
        torch.save({"network_weights": weights, "nnssl_adaptation_plan": {}}, tmp_path / "nnssl.pth")
        info = {
            "checkpoint_path": str(tmp_path / "nnssl.pth"), "key_to_encoder": "encoder.stages", "key_to_lpe": None,
            "key_to_stem": "encoder.stages.0", "keys_to_in_proj": ["encoder.stages.0.0.convs.0.conv"],
            "pt_num_in_channels": 1, "pt_used_patchsize": [16, 16, 16],
        }  # fmt: skip
        yield weights, lambda trainer: build(trainer, nnunet.preprocessed, pretrain_info=info)


@pytest.mark.parametrize(
    ("name", "loss"), [(nnUNetTrainerNACLPretrained, NACLLoss), (nnUNetTrainerCRaCPretrained, CRaCLoss)]
)
def test_fine_tunes_and_goes_on(name, loss, make):
    weights, build_one = make
    trainer = build_one(name)
    encoder = {key: value for key, value in trainer.network.state_dict().items() if key.startswith("encoder.")}
    torch.testing.assert_close(encoder, {key: weights[key] for key in encoder})
    assert isinstance(trainer.loss, loss), "it trains without deep supervision"
    assert np.isfinite(train(trainer, epochs=2)["train_losses"]).all()
    assert f"Training with {loss.__name__}(" in Path(trainer.log_file).read_text()
    resumed = build_one(name)
    maybe_load_checkpoint(resumed, continue_training=True, validation_only=False)
    assert resumed.current_epoch == 2
    if loss is CRaCLoss:
        assert (
            resumed._calibrated_loss.multipliers.state()
            == trainer.logger.local_logger.my_fantastic_logging[HISTORY_KEY][-1]
        )
