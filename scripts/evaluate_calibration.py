"""Post-inference calibration figures: the same as ``nnunet-nacl evaluate``, for those who call scripts.

python scripts/evaluate_calibration.py PREDICTED -gt LABELS
"""

import sys

from nnunet_nacl.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
