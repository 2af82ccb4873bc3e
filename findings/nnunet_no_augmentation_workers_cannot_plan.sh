#!/usr/bin/env bash
# nnU-Net 2.8.1: with nnUNet_n_proc_DA=0, which training takes, planning ends in an error.
#
# nnUNet_n_proc_DA is the number of processes for data augmentation. 0 is a value that nnU-Net provides for: the trainer then augments in the main
# process (SingleThreadedAugmenter), which helps in containers with little shared memory, and when debugging. The variable is usually set once for
# a shell or a job script, so nnUNetv2_plan_and_preprocess would be expected to work with it too; it augments nothing.
# Seen: after the fingerprint, planning ends in "RuntimeError: set_num_threads expects a positive integer". To estimate the memory of a network,
# ExperimentPlanner.static_estimate_VRAM_usage sets the number of PyTorch's threads to that of augmentation processes, which says nothing of it.
# `nnUNet_n_proc_DA=1 nnUNetv2_plan_and_preprocess ...` works.
#
# Exits with 0 while that is so. Needs no GPU.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
"$scratch/venv/bin/pip" install --quiet nnunetv2==2.8.1
export nnUNet_raw=$scratch/raw nnUNet_preprocessed=$scratch/preprocessed nnUNet_results=$scratch/results MPLBACKEND=agg
mkdir -p "$nnUNet_raw/Dataset001_Cube/imagesTr" "$nnUNet_raw/Dataset001_Cube/labelsTr" "$nnUNet_preprocessed" "$nnUNet_results"
cd "$scratch"
"$scratch/venv/bin/python" - << 'END'
import inspect
import json
import os

import nibabel
import numpy as np
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

assert "allowed_num_processes == 0" in inspect.getsource(nnUNetTrainer.get_dataloaders), "changed: training no longer provides for 0"
folder = os.path.join(os.environ["nnUNet_raw"], "Dataset001_Cube")
label = np.zeros((32, 32, 32), np.uint8)
label[10:20, 10:20, 10:20] = 1
for case in range(2):
    image = np.random.default_rng(case).normal(size=label.shape).astype(np.float32) + 3 * label
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), f"{folder}/imagesTr/case_{case}_0000.nii.gz")
    nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), f"{folder}/labelsTr/case_{case}.nii.gz")
description = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "cube": 1}, "numTraining": 2, "file_ending": ".nii.gz"}
with open(f"{folder}/dataset.json", "w") as file:
    json.dump(description, file)
END

plan() {
    nnUNet_n_proc_DA=$1 "$scratch/venv/bin/nnUNetv2_plan_and_preprocess" -d 1 -c 3d_fullres -npfp 1 -np 1 > "$scratch/log_$1" 2>&1
}
if plan 0; then
    echo "changed: planning works with nnUNet_n_proc_DA=0"
    exit 1
fi
echo "nnUNet_n_proc_DA=0: $(tail -n 1 "$scratch/log_0")"
grep -q "set_num_threads expects a positive integer" "$scratch/log_0"
plan 1
echo "nnUNet_n_proc_DA=1: planned and preprocessed"
