"""nnU-Net's predictor with the network of one fold at a time, set up as nnU-Net's trainer sets it up for its own validation."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import warnings
from typing import Any

import numpy as np
import torch
from nnunetv2.configuration import default_num_processes
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.nnunet.image_files import num_image_channels
from nnunet_nacl.training.share import read_checkpoint, trainer_of
from nnunet_nacl.validation.mirror_pairs import MirrorPairsPredictor
from nnunet_nacl.validation.model import TrainedModel


def device_named(name: str | None) -> torch.device:
    """Return a device, and let PyTorch use as many threads as nnU-Net does with it.

    Args:
        name: ``cuda``, ``cpu`` or ``mps``; None: a GPU where there is one.

    Raises:
        InputError: there is no such device here.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = next(kind for kind in there if there[kind]) if name is None else name
    if not there[chosen]:
        raise InputError(f"-device {chosen}: PyTorch {torch.__version__} finds no such device here. Use -device cpu.")
    # as `nnUNetv2_train` and `nnUNetv2_predict`
    torch.set_num_threads((os.cpu_count() or 1) if chosen == "cpu" else 1)
    return torch.device(chosen, 0) if chosen == "cuda" else torch.device(chosen)


class FoldPredictor:
    """Predicts with nnU-Net's predictor; :meth:`take` says with which fold.

    Args:
        model: whose network it is.
        device: where it runs.
        batch_mirrors: predict mirror images two at a time, see :mod:`~nnunet_nacl.validation.mirror_pairs`.

    Attributes:
        device, batch_mirrors: as given.
        plans, configuration: nnU-Net's managers of what the network was trained with.
        trainer_name: of the class that it was trained with.

    Raises:
        InputError: the checkpoint or its plans cannot be used, or mirror images are to be batched on another device than a CPU.
    """

    def __init__(self, model: TrainedModel, device: torch.device, batch_mirrors: bool = False) -> None:
        if batch_mirrors and device.type != "cpu":
            raise InputError(f"--batch-mirrors is for -device cpu, and this is {device.type}. Leave it out.")
        self._model, self.device = model, device
        self.batch_mirrors = batch_mirrors
        checkpoint = read_checkpoint(model.checkpoint(model.folds[0]))
        self.trainer_name: str = checkpoint["trainer_name"]
        self.plans = PlansManager(model.plans)
        name = checkpoint["init_args"].get("configuration")
        try:
            self.configuration: ConfigurationManager = self.plans.get_configuration(name)
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"{model.folder}: nnU-Net does not find the configuration {name!r} in its plans ({first_line(error)})."
            ) from error
        self.configuration_name = str(name)
        self._predictor: nnUNetPredictor | None = None
        self._network: torch.nn.Module | None = None
        self._kept: dict[str, dict[str, Any]] = {}

    @property
    def ways(self) -> list[str]:
        """What predictions depend on beside files, for fingerprints."""
        return [self.device.type, *(["batch_mirrors"] if self.batch_mirrors else [])]

    @property
    def threads(self) -> int:
        """Threads of PyTorch for what follows a prediction: one a core, also where the network runs on a GPU."""
        return os.cpu_count() or 1

    @property
    def num_channels(self) -> int:
        """Channels of the images, without those that a cascade adds."""
        return num_image_channels(self._model.dataset_json)

    def keep_all(self) -> None:
        """Read the weights of all folds, which then take turns in memory, and use threads as ``nnUNetv2_predict`` does.

        Raises:
            InputError: a checkpoint cannot be used.
        """
        torch.set_num_threads(min(default_num_processes, torch.get_num_threads()))
        for fold in self._model.folds:
            checkpoint = read_checkpoint(self._model.checkpoint(fold))
            self._kept[fold] = {key: checkpoint[key] for key in ("network_weights", "inference_allowed_mirroring_axes")}

    def take(self, fold: str) -> None:
        """Predict with this fold from now on.

        Raises:
            InputError: its checkpoint cannot be used, or the trainer that builds its network is not found.
        """
        path = self._model.checkpoint(fold)
        checkpoint = self._kept.get(fold) or read_checkpoint(path)
        # not the predictor's, which torch.compile may have wrapped (nnUNet_compile)
        network = self._network = self._build() if self._network is None else self._network
        try:
            network.load_state_dict(checkpoint["network_weights"])
        except RuntimeError as error:
            raise InputError(
                f"{path}: its weights are not those of the network that {self.trainer_name} builds ({first_line(error)})."
            ) from error
        if self._predictor is None:
            # the arguments of nnUNetTrainer.perform_actual_validation; on a CPU it prints what it does not do there
            predictor_class = MirrorPairsPredictor if self.batch_mirrors else nnUNetPredictor
            with contextlib.redirect_stdout(io.StringIO()):
                self._predictor = predictor_class(
                    tile_step_size=0.5, use_gaussian=True, use_mirroring=True,
                    perform_everything_on_device=self.device.type == "cuda", device=self.device, allow_tqdm=False,
                )  # fmt: skip
        self._predictor.manual_initialization(
            network, self.plans, self.configuration, None, self._model.dataset_json, self.trainer_name,
            checkpoint["inference_allowed_mirroring_axes"],
        )  # fmt: skip

    def logits(self, data: torch.Tensor) -> NDArray[np.float16]:
        """Return the logits ``(K, *spatial)`` of preprocessed data ``(C, *spatial)``, in nnU-Net's half precision.

        Raises:
            InputError: nnU-Net cannot predict it, for lack of memory or since it is not what the network takes.
        """
        assert self._predictor is not None, "no fold was taken"
        try:
            found: NDArray[np.float16] = self._predictor.predict_sliding_window_return_logits(data).cpu().numpy()
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"nnU-Net cannot predict data of shape {tuple(data.shape)} on {self.device.type} ({first_line(error)})."
            ) from error
        return found

    def _build(self) -> torch.nn.Module:
        """Return the network on the device, of the class that it was trained with, as nnU-Net's predictor builds it."""
        build = trainer_of(self.trainer_name).build_network_architecture  # type: ignore[attr-defined]
        channels = determine_num_input_channels(self.plans, self.configuration, self._model.dataset_json)
        heads = self.plans.get_label_manager(self._model.dataset_json).num_segmentation_heads
        configuration = self.configuration
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            if "plans_manager" in inspect.signature(build).parameters:
                first: tuple[Any, ...] = (self.plans, configuration)
            else:
                first = (configuration.network_arch_class_name, configuration.network_arch_init_kwargs,
                         configuration.network_arch_init_kwargs_req_import)  # fmt: skip
            network: torch.nn.Module = build(*first, channels, heads, enable_deep_supervision=False)
        try:
            # from the start: the predictor would move it in inference mode, and buffers that are made there, such as BatchNorm's, cannot be loaded
            # again outside of it
            return network.to(self.device)
        except RuntimeError as error:
            raise InputError(
                f"PyTorch cannot put the network of {self.trainer_name} on {self.device.type} ({first_line(error)})."
            ) from error
