#!/usr/bin/env bash
# Tests Loom against real network software from Debian's packages: nginx with mTLS and HTTP/2, tinyproxy, microsocks; and
# watches with strace whom a program of Loom's talks to; lets a name server be silent and the clock jump. Installs what is missing if it may; nothing leaves the machine.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
missing=()
for pair in nginx:nginx-light tinyproxy:tinyproxy microsocks:microsocks strace:strace faketime:faketime ip:iproute2; do
  PATH=$PATH:/usr/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
if ((${#missing[@]})); then
  say "packages: ${missing[*]}"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
fi
python_package

say "real proxies, real mTLS, and whom Loom talks to"
LOOM_NETWORK_TESTS=required .venv/bin/python -m pytest --quiet tests/network
