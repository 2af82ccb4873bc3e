"""The folder that the environment variable ``nnUNet_extTrainer`` has to name."""

from __future__ import annotations

from pathlib import Path

import nnunet_nacl

MODULE = "nnunet_nacl_trainers"


def trainer_path() -> Path:
    """Return the folder with the module that nnU-Net scans: inside a wheel install, beside the package in a checkout.

    Raises:
        FileNotFoundError: neither place has it, so the installation is damaged.
    """
    package = Path(nnunet_nacl.__file__).resolve().parent
    places = (package / "_trainers", package.parent / "trainers")
    for place in places:
        if (place / f"{MODULE}.py").is_file():
            return place
    raise FileNotFoundError(
        f"{MODULE}.py is in neither {places[0]} nor {places[1]}. Install nnunet-nacl again: pip install --force-reinstall "
        "--no-deps nnunet-nacl"
    )
