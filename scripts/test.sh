#!/usr/bin/env bash
# Builds Loom on a fresh machine and passes all its tests. The real servers are a command of their own: scripts/servers.sh.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
python_package

say "Rust: format, lints"
cargo fmt --all --check
cargo clippy --workspace --all-targets --all-features --locked --quiet -- --deny warnings

say "Rust: tests"
cargo nextest --version >/dev/null 2>&1 || cargo install cargo-nextest --version 0.9.143 --locked --quiet
cargo nextest run --workspace --all-features --locked --no-fail-fast
cargo test --doc --workspace --all-features --locked --quiet

say "Rust: the stated version builds all dependencies"
.venv/bin/python scripts/check_msrv.py

say "Python: format, lints, types, stubs"
.venv/bin/ruff format --check python tests scripts examples docs benches
.venv/bin/ruff check python tests scripts examples docs benches
.venv/bin/mypy --strict python/loom
.venv/bin/python -m mypy.stubtest loom._loom

say "Python: the wheel, in an environment of its own"
rm -rf target/wheels target/wheel-venv
.venv/bin/maturin build --quiet --locked --out target/wheels
python3 -m venv target/wheel-venv
target/wheel-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps target/wheels/*-cp39-abi3-*.whl
target/wheel-venv/bin/loom demo >/dev/null
target/wheel-venv/bin/python -c 'import loom, pathlib; assert (pathlib.Path(loom.__file__).parent / "py.typed").exists()'

say "Python and documentation: tests"
.venv/bin/python -m pytest --quiet

say "the command line program in a terminal"
bash tests/terminal/run.sh

say "all tests passed"
