"""Post-inference calibration figures: the same as ``nnunet-nacl evaluate``, for those who call scripts.

python scripts/evaluate_calibration.py GT_FOLDER PRED_FOLDER -djfile dataset.json -pfile plans.json
"""

import sys

from nnunet_nacl.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
