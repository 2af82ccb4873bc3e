#!/usr/bin/env bash
# snakemake-executor-plugin-slurm 2.8.0 takes MinJobAge=0 for a queue that forgets at once; for SLURM it means that it never forgets.
#
# slurm.conf(5), MinJobAge: the minimum age of a completed job before its record is cleared from the list that slurmctld keeps;
# "A value of zero prevents any job record purging". So with 0, squeue can be asked about any job, however long ago it ended.
# Expected: the plugin recommends squeue there, as it does for 120 s and more.
# Seen (2.8.0): should_recommend_squeue_status_command() says False for 0 as for 60, and the same comparison (min_job_age < three
# intervals) makes a run that was given --slurm-status-command squeue ask sacct instead.
#
# `scontrol` is a stand-in of one line, as SLURM 22.05 prints it. Exits with 0 while that is so.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
# --no-deps: what is asked needs the standard library alone; the package's own __init__ would import Snakemake
"$scratch/venv/bin/pip" install --quiet --no-deps snakemake-executor-plugin-slurm==2.8.0
mkdir "$scratch/bin"
cat > "$scratch/bin/scontrol" << 'END'
#!/bin/sh
echo "MinJobAge               = $AGE sec"
END
chmod +x "$scratch/bin/scontrol"

ask() {
    AGE=$1 PATH="$scratch/bin:$PATH" "$scratch/venv/bin/python" - << 'END'
import importlib.util, pathlib, sysconfig

path = pathlib.Path(sysconfig.get_path("purelib"), "snakemake_executor_plugin_slurm", "job_status_query.py")
spec = importlib.util.spec_from_file_location("job_status_query", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.get_min_job_age(), module.should_recommend_squeue_status_command())
END
}

for age in 0 60 120 300; do
    echo "MinJobAge=$age: read as, squeue recommended: $(ask $age)"
done
[ "$(ask 0)" = "0 False" ] || { echo "changed: 0 is no longer taken for too short"; exit 1; }
[ "$(ask 300)" = "300 True" ] || { echo "changed: 300 s are no longer enough"; exit 1; }
