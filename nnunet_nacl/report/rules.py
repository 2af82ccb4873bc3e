"""How a run is judged, in words: what a reader needs of docs/protocol.md, which is not installed with the package."""

from __future__ import annotations

from nnunet_nacl.study.trained_again import MIN_TRAININGS, TRAINED_AGAIN
from nnunet_nacl.study.verdict import DICE_MARGIN, ECE_MARGIN, PRIMARY_SETS

RULES = (
    f"The verdict is on the question “{TRAINED_AGAIN}”, and needs {MIN_TRAININGS} folds. Better and worse: p over trainings below 0.05, "
    f"adjusted for Dice and ECE in the voxel sets {' and '.join(PRIMARY_SETS)}. Win: better in one of the three, worse in none, and "
    f"Dice not lower by {DICE_MARGIN:g} (non-inferior). Loss: the same from the other side. Trade: better in one, worse in another. Equal: "
    f"all three surely within {DICE_MARGIN:g} of Dice and {ECE_MARGIN:.0%} of ECE. Open: the rest. Whether the trainings had converged "
    "is not checked here."
)
