# Sourced by the other scripts: checks for what must be there and makes what is missing, all of it in the checkout.
# Needs a Rust toolchain and Python 3.10 or newer with pip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME CONDA_PREFIX

say() { printf '\n== %s\n' "$*" >&2; }

need() { # COMMAND WHAT-TO-DO
  command -v "$1" >/dev/null || { echo "$1 is missing: $2" >&2; exit 1; }
}

# The virtual environment .venv, with Python's tools by exact version and the package built into it.
python_package() {
  need cargo "install Rust from https://rustup.rs"
  need python3 "install Python 3.10 or newer"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed" >&2; exit 1; }
  say "Python tools (.venv)"
  .venv/bin/python -m pip --version >/dev/null 2>&1 || python3 -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement scripts/requirements.txt
  say "the Python package"
  VIRTUAL_ENV=$PWD/.venv .venv/bin/maturin develop --quiet --locked
}
