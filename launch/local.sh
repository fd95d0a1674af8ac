#!/usr/bin/env bash
# Starts a command as N processes on this machine that train together, and ends them together.
#
#   launch/local.sh 2 onevision sft --config configs/sft_debug.py --workdir runs/two
#
# Not needed for speed: one process uses all devices of a machine. It is for trying, on one machine,
# what a cluster does with one process on each host.
set -euo pipefail

GRACE_SECONDS=10

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[[ ${1-} =~ ^[1-9][0-9]*$ && $# -ge 2 ]] || usage
count=$1
shift

# One process needs nobody to find it, and no one to watch it.
((count > 1)) || exec "$@"

# A port on which nobody answers. Below 32768, where systems begin to take ports for connections
# that go out; between this look and its use nothing else will ask for it.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# Each process would take all GPUs, and no GPU can be in two of them: they get equal shares.
gpus=()
if [[ ${JAX_PLATFORMS-} != cpu ]] && command -v nvidia-smi >/dev/null; then
  found=$(nvidia-smi --query-gpu=index --format=csv,noheader | grep -x '[0-9]*' | paste -sd,) || true
  IFS=, read -ra gpus <<<"${CUDA_VISIBLE_DEVICES-$found}"
fi
if ((${#gpus[@]} % count)); then
  echo "launch/local.sh: ${#gpus[@]} GPUs cannot be shared by $count processes;" \
    "set CUDA_VISIBLE_DEVICES to a multiple, or JAX_PLATFORMS=cpu" >&2
  exit 2
fi
share=$((${#gpus[@]} / count))

ONEVISION_COORDINATOR=127.0.0.1:$(free_port)
export ONEVISION_COORDINATOR ONEVISION_NUM_PROCESSES=$count
# Else jax listens to the whole network, and fails where there is no IPv6.
export JAX_COORDINATOR_BIND_ADDRESS=$ONEVISION_COORDINATOR

# Job control: each process leads a group of its own, which can be ended with all its children
# (the data workers) and without this script or whoever called it.
set -m
pids=()

# Whether a signal, by name, reached any process; 0 only asks whether there is one.
signal_all() {
  local pid reached=1
  for pid in "${pids[@]}"; do
    if kill "-$1" -- "-$pid" 2>/dev/null; then reached=0; fi
  done
  return "$reached"
}

# However this script ends, nothing of it stays.
finish() {
  trap '' INT TERM HUP
  exec 2>/dev/null  # Job control would report each.
  signal_all TERM || return 0
  for ((tenth = 0; tenth < GRACE_SECONDS * 10; tenth++)); do
    signal_all 0 || return 0
    sleep 0.1
  done
  signal_all KILL || true
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

for ((index = 0; index < count; index++)); do
  if ((share)); then
    CUDA_VISIBLE_DEVICES=$(IFS=,; echo "${gpus[*]:index*share:share}")
    export CUDA_VISIBLE_DEVICES
  fi
  # Without job control's terminal: a process that reads it from the background would stop.
  ONEVISION_PROCESS_ID=$index "$@" </dev/null &
  pids+=($!)
done

# The first that fails decides; `exit` ends the others.
for ((ended = 0; ended < count; ended++)); do
  wait -n || exit "$?"
done
