#!/usr/bin/env bash
# nnunet-nacl from nothing to a report: installs it, makes (or takes) a task, trains nnU-Net as it is and with the trainer that
# docs/trainers.md names first, evaluates both, recalibrates the first, and compares the three.
#
#   bash scripts/demo.sh                                    a generated phantom; under 10 minutes on two CPU cores
#   bash scripts/demo.sh --msd PATH/TO/Task04_Hippocampus   a real task of the Medical Segmentation Decathlon; longer
#
# Options: --work DIR       where everything goes (default: ./nnunet-nacl-demo). Git does not see it; delete it when you are done
#          --no-install     use the nnunet-nacl and nnU-Net of the present environment instead of installing into DIR/venv
#          --python PYTHON  the interpreter to install with, 3.10 or newer (default: python3)
#          --length LENGTH  of a training, as in a trainer's name (default: 10epochs_100iterations_10valiterations; with --msd 20epochs)
#          --quick          two iterations per training and a smaller phantom: does everything run? The figures mean nothing
#
# The install takes 6.6 GB, since pip's PyTorch for Linux is the build for CUDA. PyTorch's build for CPUs is enough here:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu bash scripts/demo.sh
# Run it again to go on where it stopped. It writes into DIR alone and takes no folder that it did not make.
set -euo pipefail

# what docs/trainers.md recommends first; a test holds the two together
trainer=nnUNetTrainerDiceL1ACE
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
marker=.made-by-nnunet-nacl-demo

fail() { echo "demo.sh: error: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }

work=$PWD/nnunet-nacl-demo python=python3 msd="" length="" install=yes quick=""
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
        --no-install) install="" && shift ;;
        --quick) quick=-quick && shift ;;
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) fail "unknown option $1; see --help" ;;
    esac
done

check_input() {
    if [ -n "$msd" ]; then
        [ -f "$msd/dataset.json" ] || fail "$msd has no dataset.json; give the unpacked MSD folder, such as .../Task04_Hippocampus"
        msd=$(cd "$msd" && pwd)
        [[ $(basename "$msd") =~ ^Task[0-9]+_[A-Za-z0-9]+$ ]] || fail "$msd is not named TaskXX_Name, as nnU-Net needs it"
    fi
    if [ -d "$work" ] && [ ! -e "$work/$marker" ] && [ -n "$(ls -A "$work")" ]; then
        fail "$work exists and was not made by this script; choose another folder with --work"
    fi
    mkdir -p "$work" && touch "$work/$marker" || fail "$work cannot be written; choose another folder with --work"
    echo '*' >"$work/.gitignore"
    work=$(cd "$work" && pwd)
    # Each task and size has a folder of its own, so that nothing of another one is taken over.
    if [ -n "$msd" ]; then run=$work/$(basename "$msd")$quick; else run=$work/phantom$quick; fi
    mkdir -p "$run/logs"
    cd "$run"
}

# What the code here is, by content: an updated checkout is installed and run anew.
code() { (cd "$source" && find nnunet_nacl trainers pyproject.toml -type f ! -name '*.pyc' -exec cksum {} + | sort | cksum); }

install_into_venv() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "$python is no Python 3.10 or newer; name one with --python"
    if [ ! -x "$work/venv/bin/pip" ]; then
        say "Installing into $work/venv (once; 6.6 GB with PyTorch for CUDA, see --help)"
        "$python" -m venv "$work/venv" >"$run/logs/venv.log" 2>&1 ||
            fail "$python -m venv failed: $(tail -n 3 "$run/logs/venv.log")"
    fi
    if [ "$(cat "$work/venv/installed" 2>/dev/null)" != "$(code)" ]; then
        echo "\$ pip install $source[report]"
        "$work/venv/bin/pip" install "$source[report]" 2>&1 | tee "$run/logs/install.log" | show_downloads ||
            { tail -n 20 "$run/logs/install.log" >&2; fail "pip failed; its whole log is $run/logs/install.log"; }
        code >"$work/venv/installed"
    fi
    export PATH=$work/venv/bin:$PATH
}

show_downloads() {
    local line
    while IFS= read -r line; do
        case $line in
            *.metadata*) ;;
            *Downloading* | "Installing collected packages:"*) line=${line#"${line%%[![:space:]]*}"}; echo "  ${line:0:100}" ;;
        esac
    done
}

set_nnunet_variables() {
    command -v nnunet-nacl >/dev/null || fail "there is no nnunet-nacl on the PATH; leave out --no-install"
    export nnUNet_raw=$run/nnUNet_raw nnUNet_preprocessed=$run/nnUNet_preprocessed nnUNet_results=$run/nnUNet_results
    mkdir -p "$nnUNet_raw" "$nnUNet_preprocessed" "$nnUNet_results"
    nnUNet_extTrainer=$(nnunet-nacl trainer-path)
    export nnUNet_extTrainer
    # Starting nnU-Net's default of 8 and 12 worker processes would take longer than what they do here.
    export nnUNet_def_n_proc=2 nnUNet_n_proc_DA=2 nnUNet_compile=f PYTHONUNBUFFERED=1
    # glibc would hand each freed activation back to the system and fetch it again; on a CPU that is a tenth of the time
    export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
}

# has_run NAME COMMAND...: tell whether this command, of the code here, has run
has_run() { [ "$(cat "logs/$1.done" 2>/dev/null)" = "${*:2} $code" ]; }

# once NAME COMMAND...: run a command unless the same one, of the same code, has run here; its output goes to a log
once() {
    local log=logs/$1.log done="logs/$1.done"
    has_run "$@" && return
    shift
    echo "\$ $*"
    "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "the command above failed; its whole log is $run/$log"; }
    echo "$* $code" >"$done"
}

prepare_task() {
    local task=$msd number name
    if [ -n "$msd" ]; then
        # what a name stands for may change: another folder of this name needs another DIR
        local identity
        identity=$(cksum <"$msd/dataset.json")
        [ "$(cat source 2>/dev/null || echo "$identity")" = "$identity" ] ||
            fail "$run was made of another $(basename "$msd"); choose another folder with --work"
        echo "$identity" >source
    else
        task=Task99_Phantom
        [ -d "$task" ] || once phantom nnunet-nacl phantom "$task" --cases "$cases" --size "$size"
    fi
    number=$(basename "$task" | sed -E 's/^Task0*([0-9]+)_.*/\1/')
    name=$(basename "$task" | sed -E 's/^Task[0-9]+_//')
    dataset=$(printf 'Dataset%03d_%s' "$number" "$name")
    [ -e imported ] || { rm -rf "nnUNet_raw/$dataset" && once import nnUNetv2_convert_MSD_dataset -i "$task" -overwrite_id "$number" -np 2; }
    touch imported
    [ -e planned ] || once plan nnUNetv2_plan_and_preprocess -d "$number" -c 3d_fullres -npfp 2 -np 2
    touch planned
    once cpu_plans nnunet-nacl cpu-plans "$dataset"
}

# validation TRAINER: the folder with the softmax files of the trained fold
validation() { echo "nnUNet_results/$dataset/$1__nnUNetPlansCPU__3d_fullres/fold_0/validation"; }

train() {
    [ ! -f "$(validation "$1")/summary.json" ] || return 0
    local log=logs/train_$1.log command=(nnUNetv2_train "$dataset" 3d_fullres 0 -tr "$1" -p nnUNetPlansCPU -device cpu --npz --c)
    echo "\$ ${command[*]}"
    "${command[@]}" 2>&1 | tee "$log" | show_epochs ||
        { tail -n 20 "$log" >&2; fail "the training failed; its whole log is $run/$log"; }
}

# a line for each epoch of nnU-Net's training log
show_epochs() {
    local line epoch="" loss="" dice="" predicting=""
    while IFS= read -r line; do
        case $line in
            *": Epoch time: "*) printf '  epoch %s of %s: loss %s, Dice of validation patches %s, %s\n' "$epoch" "${length%%epochs*}" "$loss" "$dice" "${line##*: }" ;;
            *": Epoch "*) epoch=$((${line##*: Epoch } + 1)) ;;
            *": train_loss "*) loss=${line##*: train_loss } ;;
            *": Pseudo dice "*) dice=$(sed -E 's/.*\[|\].*//g; s/np\.float[0-9]+\(([^)]*)\)/\1/g; s/, / and /' <<<"$line") ;;
            *": predicting "*) [ -n "$predicting" ] || echo "  predicting the validation cases"; predicting=yes ;;
        esac
    done
}

# evaluate NAME FOLDER: into a folder of that name, which the report and the comparison take for the name of the run
evaluate() { once "evaluate_$1" nnunet-nacl evaluate "$2" -gt "$labels" -o "$1"; }

recalibrate() {
    once fit nnunet-nacl recalibrate fit "$1" -gt "$labels" -o temperature.json
    local apply=(nnunet-nacl recalibrate apply temperature.json "$1" -o recalibrated --held-out)
    has_run apply "${apply[@]}" || rm -rf recalibrated
    once apply "${apply[@]}"
    evaluate "$2" recalibrated
}

# Dice, and confidence against accuracy where a structure is predicted; means over the validation cases
summarize() {
    python - "$@" <<'END'
import json
import sys
from pathlib import Path

tests = json.loads(Path("comparison/comparison.json").read_text())["tests"]
verdicts = [test["verdict"] for test in tests if (test["score"], test["voxel_set"]) == ("ECE", "predicted")]
for name, verdict in zip(sys.argv[1:], ["", *verdicts]):
    result = json.loads((Path(name) / "calibration.json").read_text())
    of_set = result["per_case"]["predicted"]
    if of_set["n_cases"]:
        words = f"says {of_set['confidence']:.3f}, is right in {of_set['accuracy']:.3f}   ECE {of_set['ECE']:.3f} {verdict}"
    else:
        words = "no structure is predicted in any case; train longer"
    print(f"{name:20} Dice {result['foreground_mean']['Dice']:.3f}   {words}".rstrip())
END
}

cases=80 size=32
if [ -n "$msd" ]; then length=${length:-20epochs}; else length=${length:-10epochs_100iterations_10valiterations}; fi
if [ -n "$quick" ]; then cases=60 size=16 length=1epochs_80iterations_1valiterations; fi
check_input
code=$(code)
[ -z "$install" ] || install_into_venv
set_nnunet_variables
say "Checking the installation"
once doctor nnunet-nacl doctor
say "Preparing the task in $run"
prepare_task
labels=nnUNet_preprocessed/$dataset/gt_segmentations
stock=nnUNetTrainer_$length ours=${trainer}_$length
say "Training nnU-Net as it is, then with $trainer: small networks, $length"
train "$stock"
train "$ours"
say "Measuring, recalibrating, comparing"
runs=(nnUNet nnUNet_recalibrated "${trainer#nnUNetTrainer}")
evaluate "${runs[0]}" "$(validation "$stock")"
evaluate "${runs[2]}" "$(validation "$ours")"
recalibrate "$(validation "$stock")" "${runs[1]}"
once compare nnunet-nacl compare "${runs[@]}" --voxel-sets all predicted -o comparison
once report nnunet-nacl report "${runs[@]}" -o report.html --images "nnUNet_raw/$dataset/imagesTr"
cat logs/compare.log
say "Where a structure is predicted, over the validation cases of fold 0"
summarize "${runs[@]}"
printf '\nopen %s\n' "$run/report.html"
