#!/usr/bin/env bash
# Installs the servers that tests start themselves. A daemon that the package starts is
# in nobody's way: tests take free ports.
set -euo pipefail
if [ -n "${REDIS_SERVER-}" ] || command -v redis-server >/dev/null; then
  exit 0
fi
for try in 1 2 3; do
  if apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends redis-server; then
    exit 0
  fi
  echo "redis-server could not be installed, try $try" >&2
  sleep 5
done
exit 1
