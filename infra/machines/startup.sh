#!/usr/bin/env bash
# What a rented machine does from boot to power-off. Compute Engine runs it as root at every boot, as the metadata
# attribute startup-script says; so do the emulator, with stand-ins for docker, nvidia-smi and poweroff.
#
# It ends with the machine's power off, whatever happened: a machine without a worker only costs. Nothing that it
# prints is secret: the serial console can be read by everybody in the project.
set -euo pipefail
umask 077

readonly METADATA="http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1"
readonly DRIVER_DEADLINE=600 # seconds in which the image may still be installing the driver of its GPU
readonly PULL_ATTEMPTS=6

say() { printf 'spotlift: %s\n' "$*"; }

# The value at that path of the metadata server. The network may come up later than this script.
metadata() {
  curl --silent --show-error --fail --noproxy '*' --max-time 10 --retry 10 --retry-delay 1 --retry-connrefused \
    --header 'Metadata-Flavor: Google' "$METADATA/$1"
}

# What whoever rented the machine says under that key, or else the default.
attribute() { metadata "instance/attributes/$1" 2>/dev/null || printf '%s' "$2"; }

power_off() {
  local code=$?
  trap - EXIT
  rm -rf "${DOCKER_CONFIG:-}"
  say "powers off (exit code $code)"
  poweroff || shutdown -h now
}

await_driver() {
  local until=$((SECONDS + DRIVER_DEADLINE))
  until nvidia-smi >/dev/null 2>&1; do
    if ((SECONDS >= until)); then
      say "the driver of the GPU is not there after ${DRIVER_DEADLINE} s: take a boot image that installs it"
      return 1
    fi
    sleep 2
  done
  say "the driver of the GPU is there after ${SECONDS} s"
}

# Artifact Registry takes the token of the machine's service account; other registries must be public.
log_in() {
  local registry=${1%%/*} token
  [[ $registry == *-docker.pkg.dev ]] || return 0
  token=$(metadata instance/service-accounts/default/token | sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p')
  if [[ -z $token ]]; then
    say "no token for $registry: give the machine a service account that may read the image"
    return 1
  fi
  docker login --username oauth2accesstoken --password-stdin "https://$registry" <<<"$token" >/dev/null
}

pull() {
  local attempt
  for ((attempt = 1; attempt <= PULL_ATTEMPTS; attempt++)); do
    if log_in "$1" && docker pull --quiet "$1"; then
      say "has $1 after ${SECONDS} s"
      return 0
    fi
    say "could not pull $1, attempt $attempt of $PULL_ATTEMPTS"
    sleep $((attempt * 2))
  done
  return 1
}

main() {
  local image gpus options code=0
  image=$(metadata instance/attributes/spotlift-image)
  gpus=$(attribute spotlift-gpus 0)

  # The container has as long to finish what it has in hand as any notice of a preemption lasts.
  options=(--rm --network host --stop-timeout 120 --env GCE_METADATA_HOST)
  if ((gpus > 0)); then
    await_driver
    options+=(--gpus all)
  fi
  if [[ $(attribute spotlift-logs '') == gcplogs ]]; then
    options+=(--log-driver=gcplogs)
  fi
  pull "$image"
  ((told)) && return 0
  docker run "${options[@]}" "$image" python -m workers.machine || code=$?
  say "the machine's process ended with exit code $code"
  return "$code"
}

DOCKER_CONFIG=$(mktemp -d) # the token for the registry goes with it
export DOCKER_CONFIG
trap power_off EXIT
# A signal must not end the script before its container, which is told as well and finishes the image in hand.
told=0
trap 'told=1; say "is told to go"' TERM INT HUP
main
