#!/bin/sh
# Runs inside the demonstration's host: each command with its answer, one file per command.
cp /lab/vfioneer /usr/local/bin/vfioneer
udevadm settle --timeout=120
stage=$(cat /lab/stage)
number=$(find /lab/out -name '*.answer' | wc -l)
failed=

# show STATUS COMMAND…: its answer; STATUS is what it must exit with.
show() {
    wanted=$1
    shift
    number=$((number + 1))
    file=/lab/out/$number
    echo "running: $*"
    { echo "\$ $*"; "$@" 2>&1; } >"$file.part"
    code=$?
    [ "$code" = "$wanted" ] || {
        echo "exit code $code, not $wanted" >>"$file.part"
        failed=yes
    }
    mv "$file.part" "$file.answer"
}

# What the kernel itself says of the twins.
drivers() {
    for gpu in 02:00.0 04:00.0; do
        echo "$gpu: $(basename "$(readlink /sys/bus/pci/devices/0000:$gpu/driver)")"
    done
}

take() {
    show 0 vfioneer
    show 0 vfioneer check 02:00
    show 0 vfioneer apply 02:00 --yes
}

back() {
    show 0 drivers
    show 0 vfioneer verify
    show 10 vfioneer rollback --yes
    show 0 vfioneer history
}

export COLUMNS=80
$stage
[ -n "$failed" ] || : >"/lab/out/$stage"
