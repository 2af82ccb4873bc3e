#!/usr/bin/env bash
# The wheel as a stranger has it: built from the sdist, installed into a bare environment outside of this checkout, and used
# from another folder, from `--help` to a real (tiny) training, its evaluation and its report.
#
#   bash scripts/test_wheel.sh [PYTHON] [NNUNETV2_VERSION]    e.g. python3.12 2.8.0; default: python3 and the newest 2.8.x
#
# Takes some ten minutes and up to 8 GB below TMPDIR, which are given back at the end: nearly all of it is PyTorch, of which pip
# takes the CUDA build where nothing else is said (PIP_FIND_LINKS, PIP_CONSTRAINT and pip's other variables work as ever).
# TEST_WHEEL_DIR names a folder to work in that is kept: run again after a failure, its environment is taken as it is, with
# nothing but the wheel installed anew.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${1:-python3} nnunet_version=${2:-2.8.*}
if [ -n "${TEST_WHEEL_DIR:-}" ]; then
    mkdir -p "$TEST_WHEEL_DIR"
    work=$(cd "$TEST_WHEEL_DIR" && pwd)
    rm -rf "$work"/{dist,elsewhere,Task99_Phantom,nnUNet_raw,nnUNet_preprocessed,nnUNet_results,truth,predicted,of_predicted,study}
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi

fail() { echo "test_wheel.sh: error: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }

# quietly LOG COMMAND...: run a command with its output in a log, and show the end of the log if it fails
quietly() {
    local log=$work/$1.log
    shift
    echo "\$ $*"
    "$@" > "$log" 2>&1 || { tail -n 30 "$log" >&2; fail "the command above failed"; }
}

build() {
    say "Building sdist and, from it, the wheel"
    [ -x "$work/tools/bin/twine" ] || "$python" -m venv "$work/tools"
    quietly tools "$work/tools/bin/python" -m pip install --quiet build twine
    quietly build "$work/tools/bin/python" -m build --outdir "$work/dist" "$source"
    quietly twine "$work/tools/bin/twine" check --strict "$work"/dist/*
    cat "$work/twine.log"
    wheel=$(echo "$work"/dist/*.whl)
}

install() {
    say "Installing it with nnunetv2 $nnunet_version into a bare environment"
    [ -x "$work/venv/bin/python" ] || "$python" -m venv "$work/venv"
    quietly install "$work/venv/bin/python" -m pip install --quiet "$wheel" "nnunetv2==$nnunet_version"
    quietly reinstall "$work/venv/bin/python" -m pip install --quiet --force-reinstall --no-deps "$wheel"
    # nothing of the checkout, and no package of the caller's
    unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
    export PATH=$work/venv/bin:$PATH PYTHONNOUSERSITE=1
    quietly check python -m pip check
    python - <<'END'
import importlib.metadata as metadata
import platform

print("Python", platform.python_version(), platform.platform())
for name in ("nnunet-nacl", "nnunetv2", "torch", "numpy", "numba", "scipy", "batchgenerators", "batchgeneratorsv2",
             "acvl-utils", "dynamic-network-architectures", "blosc2", "SimpleITK", "matplotlib", "isal"):
    print(" ", name, metadata.version(name))
END
}

# all paths of a user's own; nothing below is run from the checkout
go_elsewhere() {
    mkdir -p "$work/elsewhere" "$work/nnUNet_raw" "$work/nnUNet_preprocessed" "$work/nnUNet_results"
    cd "$work/elsewhere"
    export nnUNet_raw=$work/nnUNet_raw nnUNet_preprocessed=$work/nnUNet_preprocessed nnUNet_results=$work/nnUNet_results
    export nnUNet_compile=f nnUNet_n_proc_DA=1 nnUNet_def_n_proc=1
}

look_around() {
    say "The command"
    nnunet-nacl --version
    nnunet-nacl --help > help.log
    grep -q evaluate help.log || fail "nnunet-nacl --help does not name evaluate"
    nnunet-nacl trainers > trainers.log
    grep -q nnUNetTrainerDiceNACL trainers.log || fail "nnunet-nacl trainers does not name nnUNetTrainerDiceNACL"
    nnUNet_extTrainer=$(nnunet-nacl trainer-path)
    export nnUNet_extTrainer
    case $nnUNet_extTrainer in
        "$work/venv/"*) echo "nnUNet_extTrainer=<venv>${nnUNet_extTrainer#"$work/venv"}" ;;
        *) fail "trainer-path names $nnUNet_extTrainer, outside of the new environment" ;;
    esac
    quietly doctor nnunet-nacl doctor
}

# what a trainer brings into a Python that has nnU-Net's own loaded: nothing but this package; and what a loss brings beside torch
list_imports() {
    say "What importing the trainers loads"
    python - <<'END'
import sys


def third_party():
    return {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)


import numpy, torch  # noqa: E401

before = third_party()
import nnunet_nacl.losses

print("the losses, beside torch and numpy:", *sorted(third_party() - before))
assert third_party() - before == {"nnunet_nacl"}, third_party() - before
import nnunetv2.training.nnUNetTrainer.nnUNetTrainer
import nnunetv2.utilities.find_objects

before = third_party()
import nnunet_nacl.training.variants

print("the trainers, beside nnU-Net's trainer:", *sorted(third_party() - before))
assert third_party() == before, third_party() - before
print("nnU-Net's trainer:", *sorted(name for name in before if not name.startswith("_")))
END
    python - <<'END'
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find

for name in ("nnUNetTrainerNACL", "nnUNetTrainerDiceSVLS", "nnUNetTrainerNACL_weight0p2_kernel5_100epochs"):
    assert find(name).__name__ == name
END
}

# a task with known truth, and its posterior as if a network had predicted it
draw_and_evaluate_phantom() {
    say "The phantom and its posterior"
    task=$work/Task99_Phantom
    quietly phantom nnunet-nacl phantom "$task" --cases 6 --size 16
    quietly convert nnUNetv2_convert_MSD_dataset -i "$task" -overwrite_id 99 -np 1
    quietly plan nnUNetv2_plan_and_preprocess -d 99 -c 3d_fullres -npfp 1 -np 1
    quietly cpu_plans nnunet-nacl cpu-plans 99
    preprocessed=$nnUNet_preprocessed/Dataset099_Phantom
    evaluate truth "$task/posteriorTr" "$task/labelsTr"
    sed -n '/voxel set/,/boundary/p' "$work/truth.log"
}

# evaluate NAME PREDICTED LABELS
evaluate() {
    quietly "$1" nnunet-nacl evaluate "$2" -gt "$3" -o "$work/$1" -djfile "$preprocessed/dataset.json" \
        -pfile "$preprocessed/nnUNetPlansCPU.json" -np 1
    for file in calibration.json calibration_cases.csv calibration_bins.npz; do
        [ -s "$work/$1/$file" ] || fail "nnunet-nacl evaluate wrote no $file"
    done
}

train() {
    say "A training of two iterations with NACL, by nnU-Net's own command; prediction, evaluation, report"
    local trainer=nnUNetTrainerNACL_1epochs_2iterations_1valiterations
    quietly train nnUNetv2_train 99 3d_fullres 0 -tr $trainer -p nnUNetPlansCPU -device cpu --npz
    local fold=$nnUNet_results/Dataset099_Phantom/${trainer}__nnUNetPlansCPU__3d_fullres/fold_0
    [ -s "$fold/validation/calibration/calibration.json" ] || fail "the training did not evaluate its validation"
    quietly predict nnUNetv2_predict -i "$nnUNet_raw/Dataset099_Phantom/imagesTr" -o "$work/predicted" -d 99 -c 3d_fullres \
        -f 0 -tr $trainer -p nnUNetPlansCPU -device cpu --save_probabilities -npp 1 -nps 1
    evaluate of_predicted "$work/predicted" "$preprocessed/gt_segmentations"
    quietly compare nnunet-nacl compare "$work/truth" "$work/of_predicted"
    quietly report nnunet-nacl report "$work/truth" "$work/of_predicted" -o "$work/report.html"
    [ "$(grep -c '</html>' "$work/report.html")" = 1 ] || fail "the report is no whole page"
}

# without its extra, a command says in one line what to install
miss_extras() {
    say "Without the extra \`benchmark\`"
    quietly init nnunet-nacl benchmark init "$work/study" --scale cpu --tasks phantom
    local said status=0
    said=$(nnunet-nacl benchmark plan "$work/study" 2>&1) || status=$?
    echo "$said"
    [ "$status" = 1 ] && [ "$(echo "$said" | wc -l)" = 1 ] || fail "expected one line and exit status 1, got $status"
    [[ $said == *"nnunet-nacl[benchmark]"* ]] || fail "the line does not name the extra"
}

build
install
go_elsewhere
look_around
list_imports
draw_and_evaluate_phantom
train
miss_extras
say "The wheel works: $(python --version), nnunetv2 $(python -c 'import importlib.metadata as m; print(m.version("nnunetv2"))')"
