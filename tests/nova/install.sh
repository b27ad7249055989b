#!/bin/sh
# Makes .nova, a Python environment with the nova of requirements.txt. Says nothing and does nothing when it is there.
set -eu
cd "$(dirname "$0")/../.."
done=.nova/.done
cmp -s tests/nova/requirements.txt "$done" && exit 0
started=$(date +%s)
echo 'nova: installing it from PyPI into .nova, 400 MB' >&2
rm -rf .nova
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { python3 -m venv .nova && .nova/bin/pip install -q --no-deps -r tests/nova/requirements.txt; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo 'nova: could not install it; this needs python3-venv and a way to PyPI' >&2
    exit 1
fi
cp tests/nova/requirements.txt "$done"
echo "nova: done in $(($(date +%s) - started)) s" >&2
