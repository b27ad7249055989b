#!/bin/sh
# Runs inside the demonstration's host: each command with its answer, one file per command.
cp /lab/vfioneer /usr/local/bin/vfioneer
udevadm settle --timeout=120
number=0
show() {
    number=$((number + 1))
    file=/lab/out/$number
    echo "running: $*"
    { echo "\$ $*"; "$@" 2>&1; } >"$file.part"
    mv "$file.part" "$file.answer"
}
export COLUMNS=80
# shellcheck disable=SC2046 # the words are options
set -- $(cat /lab/options)
show vfioneer "$@"
show vfioneer "$@" list
show vfioneer "$@" check 02:00
group=$(basename "$(readlink /sys/bus/pci/devices/0000:02:00.0/iommu_group)")
show vfioneer "$@" explain group "$group"
echo 'end 0' >/lab/out/status
