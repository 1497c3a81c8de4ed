#!/usr/bin/env bash
# Fuzzes what reads untrusted bytes: the SSE decoder, chunks, the fold, thinking and calls in the text, arguments.
#
#   scripts/fuzz.sh [seconds for each target, default 60] [target …]
#
# Works with the stable compiler: coverage is LLVM's own pass, libFuzzer comes with libfuzzer-sys. What widens the
# coverage is added to fuzz/corpus/TARGET.json, which `cargo test -p loom-wire --test fuzz_corpus` replays; an input that
# fails is written to fuzz/artifacts and fails the script.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(sse chunk fold think calls arguments)
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With --target, build scripts are compiled without these flags.
cargo build --release --target "$host"
binaries=${CARGO_TARGET_DIR:-target}/$host/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p artifacts
for target in "${targets[@]}"; do
    mkdir -p "$work/$target/known" "$work/$target/found" "$work/$target/merged"
    python3 corpus.py unpack "$target" "$work/$target/known"
    echo "== $target: $(find "$work/$target/known" -type f | wc -l) inputs known, $seconds s"
    if ! "$binaries/$target" -max_total_time="$seconds" -max_len=2048 -timeout=10 -rss_limit_mb=2048 \
        -dict="dictionaries/$target.txt" -artifact_prefix="artifacts/$target-" -print_final_stats=1 \
        "$work/$target/found" "$work/$target/known" >"$work/log" 2>&1; then
        grep -aE -A12 "panicked|ERROR" "$work/log" | head -60
        exit 1
    fi
    grep -aE "stat::(number_of_executed_units|peak_rss_mb)" "$work/log"
    "$binaries/$target" -merge=1 -use_counters=0 "$work/$target/merged" "$work/$target/known" "$work/$target/found" >"$work/log" 2>&1
    python3 corpus.py pack "$target" "$work/$target/merged"
    echo "   $(find "$work/$target/merged" -type f | wc -l) inputs kept"
done
