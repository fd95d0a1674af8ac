#!/usr/bin/env bash
# Checks, then times, attention, log-prob and decode on one Hopper GPU (H100, H200), beside what
# else is installed there; under ten minutes. Usage, from the repository's root:
#     kernels/bench/h200.sh [FOLDER]          results go to FOLDER, by default bench-h200
# Needs pip install -e '.[cuda]'; torch with CUDA and tokamax take part where they are installed.
# PYTHON names another interpreter.
set -euo pipefail

out=${1:-bench-h200}
python=${PYTHON:-python}
mkdir -p "$out"

onevision=("$python" -c 'import sys; from onevision_jax.cli.main import main; sys.exit(main())')

nvidia-smi --query-gpu=name,driver_version,clocks.sm,power.limit --format=csv | tee "$out/gpu.csv"
"$python" -c 'import jax; d = jax.devices()[0]; assert d.platform == "gpu", d; print(d.device_kind)'
"${onevision[@]}" doctor | tee "$out/doctor.txt"

# Each bench compares every implementation with float64 before it times it; one that fails is named
# in its table and not timed. The three do not depend on each other: a failure is kept for the end.
failed=()
for subject in attention logprob decode; do
  echo "== $subject"
  timeout 180 "${onevision[@]}" bench "$subject" --preset 7b --out "$out/$subject.json" 2>&1 \
    | tee "$out/$subject.txt" || failed+=("$subject")
done

if ((${#failed[@]})); then
  echo "failed: ${failed[*]} (see $out)" >&2
  exit 1
fi
echo "results: $out/{attention,logprob,decode}.{txt,json}"
