#!/usr/bin/env bash
# Gets the servers that tests start themselves, where they are missing, and prints where
# they are:
#
#   eval "$(bash .ci/servers.sh)"   # sets REDIS_SERVER, VALKEY_SERVER, CHROMIUM, PROMETHEUS and PROMTOOL
#
# Redis, Chromium and Prometheus are Debian's. A daemon that a package starts is in nobody's
# way: tests take free ports. Valkey is among the backports of Debian 12: its packages are
# unpacked into a folder, by lists of apt's own, so that the machine's stay as they are.
# Where it cannot be had the tests go without it, and this says so.
set -euo pipefail
exec 3>&1 1>&2 # whatever is said on the way is no answer

apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qy -o Acquire::Retries=3 -o DPkg::Lock::Timeout=60)

# A mirror can be slow or away for a moment.
again() {
  for try in 1 2 3; do
    if timeout 180 "$@"; then return; fi
    echo "try $try has failed: $*"
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
command -v unshare && command -v ip || missing+=(util-linux iproute2) # a network for the browser alone
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
    # Its libraries are those of Redis.
    if again "${apt[@]}" update && (cd "$dir" && again "${apt[@]}" download valkey-tools valkey-server); then
      for deb in "$dir"/*.deb; do dpkg -x "$deb" "$dir"; done
    fi
  fi
fi
if "$valkey" --version; then
  printf 'export VALKEY_SERVER=%q\n' "$(command -v "$valkey")" >&3
else
  echo 'Valkey cannot be had here: its tests do not run'
fi
