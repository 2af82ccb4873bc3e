"""How a run is judged, in words: what a reader needs of docs/protocol.md, which is not installed with the package."""

from __future__ import annotations

from nnunet_nacl.study.verdict import DICE_KEPT_ABOVE, FOLDS_FOR_A_CLAIM, PRIMARY_SETS, SIGNIFICANT_BELOW

RULES = (
    f"How it is judged: better calibrated in a voxel set ({' or '.join(PRIMARY_SETS)}) means that the ECE is lower, with an interval that "
    f"does not hold 0, an adjusted p below {SIGNIFICANT_BELOW:g} and the same sign in every fold. A win is better in at least one of them and worse in "
    f"none, with the lower end of the interval of the Dice difference above {DICE_KEPT_ABOVE:g}; a trade is better calibration with a lower Dice. At "
    f"least {FOLDS_FOR_A_CLAIM} folds are needed. Whether the trainings had converged is not checked here."
)
