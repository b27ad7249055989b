#!/bin/sh
# Fuzzes the reader of option ROMs, seeded with Debian's real ones: fuzz/run.sh [EXECUTIONS]. Fails at a crash, at an input
# that takes over a minute (nothing here takes a tenth of a second, but the machine may have other work), and at more than 1 GiB
# of memory. What it finds stays in fuzz/artifacts, what it learns in fuzz/corpus.
set -eu
cd "$(dirname "$0")"
runs=${1:-10000000}
target=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p corpus seeds artifacts
cp /usr/lib/ipxe/qemu/*.rom /usr/share/seabios/vgabios-*.bin seeds/
# The same in small, so that nearly all of an input is header: their first 2 KiB, and that of their second images.
for rom in /usr/lib/ipxe/qemu/*.rom; do
    name=$(basename "$rom")
    head -c 2048 "$rom" >"seeds/start-$name"
    second=$(od -An -tu2 -j"$(($(od -An -tu2 -j24 -N2 "$rom") + 16))" -N2 "$rom")
    tail -c "+$((second * 512 + 1))" "$rom" | head -c 2048 >"seeds/second-$name"
done
# Coverage as cargo-fuzz asks for it, without a sanitizer, which would need another compiler; safe Rust checks its bounds itself.
RUSTFLAGS='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 --cfg fuzzing' \
    cargo build --release --locked --target "$target"
program=target/$target/release/rom
# Whole ROMs are slow; a twentieth of the executions has them.
whole=$((runs / 20))
common='-timeout=60 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix=artifacts/'
# shellcheck disable=SC2086
"$program" $common -max_len=4096 -runs=$((runs - whole)) corpus seeds
# shellcheck disable=SC2086
"$program" $common -max_len=262144 -runs="$whole" corpus seeds
