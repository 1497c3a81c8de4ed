# Sourced by the other scripts: a virtual environment in the checkout with the Python package built into it.
# Needs a Rust toolchain and Python 3.9 or newer with pip; everything else is installed here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset VIRTUAL_ENV PYTHONPATH CONDA_PREFIX PYTHONHOME

say() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }

need() { # COMMAND HINT
  command -v "$1" >/dev/null || { echo "$1 is missing: $2" >&2; exit 1; }
}
need cargo "install Rust from https://rustup.rs"
need python3 "install Python 3.9 or newer"

# Python packages by exact version, from a lock file.
[[ -x .venv/bin/python ]] || python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement scripts/requirements.txt

build_python() {
  VIRTUAL_ENV=$PWD/.venv .venv/bin/maturin develop --quiet --locked
}
