#!/usr/bin/env bash
# Installs Debian's nginx and HAProxy, which the gateway is measured against, where they are missing and we are root.
set -euo pipefail
missing=()
for program in nginx haproxy; do
  command -v "$program" >/dev/null || missing+=("$program")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "The measurements compare with ${missing[*]}: install them." >&2
  exit 1
fi
# Neither may start a service of its own: the measurement starts them.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
chmod +x /usr/sbin/policy-rc.d
{
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
} >&2
