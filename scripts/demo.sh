#!/usr/bin/env bash
# From nothing to a measured model: installs nnunet-nacl, makes (or takes) a task, trains nnU-Net with its own loss and
# with NACL on a small network, evaluates both and shows them side by side.
#
#   bash scripts/demo.sh                                  a generated phantom; about 10 minutes on two CPU cores
#   bash scripts/demo.sh --msd PATH/TO/Task04_Hippocampus the real task; about an hour on two CPU cores
#
# Options: --work DIR      where everything goes (default: ./nnunet-nacl-demo)
#          --python PYTHON the interpreter, 3.10 or newer (default: python3)
#          --length LENGTH of the training, as in a trainer's name (default: 10epochs_100iterations_10valiterations, and
#                          20epochs with --msd)
# Run it again to continue where it stopped. It writes to DIR alone and takes no folder that it did not make.
set -euo pipefail

fail() { echo "demo.sh: error: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }

work=$PWD/nnunet-nacl-demo python=python3 msd="" length=""
while [ $# -gt 0 ]; do
    case $1 in
        --msd | --work | --python | --length)
            [ $# -ge 2 ] || fail "$1 needs a value"
            case $1 in
                --msd) msd=$2 ;;
                --work) work=$2 ;;
                --python) python=$2 ;;
                --length) length=$2 ;;
            esac
            shift 2
            ;;
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) fail "unknown option $1; see --help" ;;
    esac
done

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
marker=.made-by-nnunet-nacl-demo

check_input() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "$python is no Python 3.10 or newer; name one with --python"
    if [ -n "$msd" ]; then
        [ -f "$msd/dataset.json" ] || fail "$msd has no dataset.json; give the unpacked MSD folder, such as .../Task04_Hippocampus"
        msd=$(cd "$msd" && pwd)
        [[ $(basename "$msd") =~ ^Task[0-9]+_[A-Za-z0-9]+$ ]] || fail "$msd is not named TaskXX_Name, as nnU-Net needs it"
    fi
    if [ -d "$work" ] && [ ! -e "$work/$marker" ] && [ -n "$(ls -A "$work")" ]; then
        fail "$work exists and was not made by this script; choose another folder with --work"
    fi
    mkdir -p "$work" || fail "$work cannot be made; choose another folder with --work"
    touch "$work/$marker"
    work=$(cd "$work" && pwd)
}

install() {
    if [ ! -e "$work/venv/installed" ]; then
        say "Installing into $work/venv"
        "$python" -m venv "$work/venv"
        "$work/venv/bin/pip" install --quiet "$source"
        touch "$work/venv/installed"
    fi
    export PATH=$work/venv/bin:$PATH
}

set_nnunet_variables() {
    export nnUNet_raw=$work/nnUNet_raw nnUNet_preprocessed=$work/nnUNet_preprocessed nnUNet_results=$work/nnUNet_results
    mkdir -p "$nnUNet_raw" "$nnUNet_preprocessed" "$nnUNet_results"
    nnUNet_extTrainer=$(nnunet-nacl trainer-path)
    export nnUNet_extTrainer
    # Starting nnU-Net's default of 8 and 12 worker processes would take longer than what they do here.
    export nnUNet_def_n_proc=2 nnUNet_n_proc_DA=2 nnUNet_compile=f
    # glibc would hand each freed activation back to the system and fetch it again; on a CPU that is a tenth of the time
    export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
    nnunet-nacl doctor
}

# quietly LOG COMMAND...: run a command with its output in a log, and show the end of the log if it fails
quietly() {
    local log=$work/logs/$1
    shift
    mkdir -p "$work/logs"
    echo "\$ $*   (log: $log)"
    "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "the command above failed; its whole log is $log"; }
}

prepare_task() {
    if [ -n "$msd" ]; then
        task=$msd
    else
        task=$work/Task99_Phantom
        [ -d "$task" ] || quietly phantom.log nnunet-nacl phantom "$task"
    fi
    local number name
    number=$(basename "$task" | sed -E 's/^Task0*([0-9]+)_.*/\1/')
    name=$(basename "$task" | sed -E 's/^Task[0-9]+_//')
    dataset=$(printf 'Dataset%03d_%s' "$number" "$name")
    preprocessed=$nnUNet_preprocessed/$dataset
    if [ ! -e "$work/$dataset.imported" ]; then
        rm -rf "${nnUNet_raw:?}/$dataset"
        quietly "import_$dataset.log" nnUNetv2_convert_MSD_dataset -i "$task" -overwrite_id "$number" -np 2
        touch "$work/$dataset.imported"
    fi
    if [ ! -e "$work/$dataset.planned" ]; then
        quietly "plan_$dataset.log" nnUNetv2_plan_and_preprocess -d "$number" -c 3d_fullres -npfp 2 -np 2
        quietly "cpu_plans_$dataset.log" nnunet-nacl cpu-plans "$dataset"
        touch "$work/$dataset.planned"
    fi
}

# validation TRAINER: the folder with the softmax files of the trained fold
validation() { echo "$nnUNet_results/$dataset/$1__nnUNetPlansCPU__3d_fullres/fold_0/validation"; }

train_and_evaluate() {
    local trainer=$1
    if [ ! -f "$(validation "$trainer")/summary.json" ]; then
        quietly "train_${dataset}_$trainer.log" nnUNetv2_train "$dataset" 3d_fullres 0 -tr "$trainer" -p nnUNetPlansCPU \
            -device cpu --npz --c
    fi
    quietly "evaluate_${dataset}_$trainer.log" nnunet-nacl evaluate "$preprocessed/gt_segmentations" \
        "$(validation "$trainer")" -djfile "$preprocessed/dataset.json" -pfile "$preprocessed/nnUNetPlansCPU.json" -np 1
}

check_input
install
say "Checking the installation"
set_nnunet_variables
if [ -n "$msd" ]; then length=${length:-20epochs}; else length=${length:-10epochs_100iterations_10valiterations}; fi
stock=nnUNetTrainer_$length nacl=nnUNetTrainerNACL_$length
say "Preparing the task"
prepare_task
say "Training with nnU-Net's own loss, then with NACL"
train_and_evaluate "$stock"
train_and_evaluate "$nacl"
say "Side by side"
nnunet-nacl compare "$(validation "$stock")" "$(validation "$nacl")" --figure "$work/$dataset.png"
if [ -z "$msd" ]; then
    say "What the phantom's true posterior scores over all cases (nothing is calibrated better)"
    quietly truth.log nnunet-nacl evaluate "$task/labelsTr" "$task/posteriorTr" -o "$work/truth" \
        -djfile "$preprocessed/dataset.json" -pfile "$preprocessed/nnUNetPlansCPU.json" -np 1
    sed -n '/voxel set/,/predicted/p' "$work/logs/truth.log"
fi
say "Pictures"
ls "$work/$dataset.png" "$(validation "$stock")"/reliability_*.png "$(validation "$nacl")"/reliability_*.png
