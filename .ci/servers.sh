#!/usr/bin/env bash
# Installs the servers that tests start themselves, if they are missing, and prints where they
# are:
#
#   eval "$(bash .ci/servers.sh)"   # sets REDIS_SERVER, VALKEY_SERVER, CHROMIUM, PROMETHEUS and PROMTOOL
#
# Redis, Chromium and Prometheus are Debian packages. If a package starts a daemon, that does
# not matter: the tests use free ports. Valkey is in the backports of Debian 12. Its packages
# are unpacked into a folder, and apt uses lists of its own for them, so that the machine's
# lists stay as they are. If Valkey cannot be installed, this says so, and its tests are skipped.
set -euo pipefail
exec 3>&1 1>&2 # only the export lines go to stdout

apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qy -o Acquire::Retries=3 -o DPkg::Lock::Timeout=60)

# again tries a command three times: a mirror can be slow or out of reach for a moment.
again() {
  for try in 1 2 3; do
    if timeout 180 "$@"; then return; fi
    echo "attempt $try of 3 has failed: $*"
    sleep $((5 * try))
  done
  return 1
}

redis=${REDIS_SERVER:-redis-server} chromium=${CHROMIUM:-chromium}
prometheus=${PROMETHEUS:-prometheus} promtool=${PROMTOOL:-promtool}
missing=()
command -v "$redis" || missing+=(redis-server)
command -v "$chromium" || missing+=(chromium)
command -v "$prometheus" && command -v "$promtool" || missing+=(prometheus)
command -v unshare && command -v ip || missing+=(util-linux iproute2) # for the browser's network namespace
if ((${#missing[@]})); then
  again "${apt[@]}" update
  again "${apt[@]}" install --no-install-recommends "${missing[@]}"
fi
printf 'export REDIS_SERVER=%q CHROMIUM=%q PROMETHEUS=%q PROMTOOL=%q\n' \
  "$(command -v "$redis")" "$(command -v "$chromium")" "$(command -v "$prometheus")" "$(command -v "$promtool")" >&3

valkey=${VALKEY_SERVER:-valkey-server}
if ! command -v "$valkey"; then
  dir=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/llmaffinity-servers
  valkey=$dir/usr/bin/valkey-server
  if ! "$valkey" --version; then
    rm -rf "$dir"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main' >"$dir/sources"
    apt+=(-o Dir::Etc::SourceList="$dir/sources" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any)
    # Valkey needs the same libraries as Redis, which are installed.
    if again "${apt[@]}" update && (cd "$dir" && again "${apt[@]}" download valkey-tools valkey-server); then
      for deb in "$dir"/*.deb; do dpkg -x "$deb" "$dir"; done
    fi
  fi
fi
if "$valkey" --version; then
  printf 'export VALKEY_SERVER=%q\n' "$(command -v "$valkey")" >&3
else
  echo 'Valkey cannot be installed here: its tests are skipped'
fi
