#!/usr/bin/env bash
# Set up a virtual environment and run every check and test.
#
#   bash scripts/test.sh [PYTEST ARGUMENTS]     e.g. -m "not nnunet" for the fast ones, in two minutes
#
# Without arguments the whole suite runs, and fails where it covers less than 90 % of the lines of nnunet_nacl.
#
# VENV names the environment (default: .venv in the checkout; it is made where it is missing). PYTHON names the interpreter.
# NNUNET_NACL_MSD_ROOT names the folder that holds Task04_Hippocampus, for the tests on real data.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet --editable '.[dev]'

"$venv/bin/ruff" format --check .
"$venv/bin/ruff" check .
"$venv/bin/mypy"
"$venv/bin/lint-imports"
"$venv/bin/codespell" README.md CHANGELOG.md docs nnunet_nacl trainers scripts tests
# two workers with a core each: nnU-Net at this size gains little from a second thread
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
[ $# -gt 0 ] || set -- --cov --cov-report=term --cov-fail-under=90
exec "$venv/bin/pytest" -n 2 --dist loadfile --no-loadscope-reorder "$@"
