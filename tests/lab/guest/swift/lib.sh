# Sourced first by every script of a swift host: `. /lab/lib.sh`. A script that breaks off, or has a command that fails outside
# of a condition, fails its cell; so does every line in $out/problems.
#
# Each function of the cell's cards has its address in a variable (/lab/cards): $nic, $gpu, $gpu2, $multi0, $shared1, …
set -eu
out=/lab/out
. /lab/cards
devices=/sys/bus/pci/devices
drivers=/sys/bus/pci/drivers
export COLUMNS=80

# problem TEXT…: what is wrong. The script goes on.
problem() {
    echo "problem: $*"
    echo "$*" >>"$out/problems"
}

# want CODE NAME COMMAND…: runs it, and it must exit with that code. What it wrote is kept as $out/NAME and $out/NAME.err.
want() {
    wanted=$1 name=$2
    shift 2
    echo "step $name"
    code=0
    "$@" >"$out/$name" 2>"$out/$name.err" || code=$?
    echo "$name $code" >>"$out/status"
    [ "$code" = "$wanted" ] || problem "$name: exit code $code, not $wanted: $(tail -n 5 "$out/$name" "$out/$name.err")"
}

# same NAME WANTED GOT: two texts must be equal.
same() {
    echo "compare $1"
    [ "$2" = "$3" ] || problem "$1: it should be
$2
and is
$3"
}

# driver ADDRESS: its driver; nothing if it has none.
driver() {
    [ ! -e "$devices/$1/driver" ] || basename "$(readlink "$devices/$1/driver")"
}

# group ADDRESS: the number of its IOMMU group; nothing if it has none.
group() {
    [ ! -e "$devices/$1/iommu_group" ] || basename "$(readlink "$devices/$1/iommu_group")"
}

# attribute ADDRESS NAME: the first line of a file in sysfs; - where there is none.
attribute() {
    head -n 1 "$devices/$1/$2" 2>/dev/null || echo -
}

# state ADDRESS…: all that a command which puts everything back must have put back. A line each, to compare with `same`.
state() {
    for function; do
        echo "$function driver=$(driver "$function") override=$(attribute "$function" driver_override)" \
            "group=$(group "$function") enable=$(attribute "$function" enable)" \
            "power=$(attribute "$function" power/control) vfs=$(attribute "$function" sriov_numvfs)"
    done
}

# unbind ADDRESS: takes it from its driver, if it has one, as an owner would by hand.
unbind() {
    [ ! -e "$devices/$1/driver" ] || echo "$1" >"$devices/$1/driver/unbind"
}

# give ADDRESS DRIVER: gives it to that driver by driver_override.
give() {
    modprobe -- "$2"
    unbind "$1"
    echo "$2" >"$devices/$1/driver_override"
    echo "$1" >/sys/bus/pci/drivers_probe
    [ "$(driver "$1")" = "$2" ] || problem "$1 was not given to $2"
}

# wait_until SECONDS COMMAND…: runs it until it is true. Its exit code says whether it was in time.
wait_until() {
    left=$(($1 * 10))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.1
    done
}

# ask COMMAND…: a command of QEMU's monitor, from outside of this host; prints what QEMU says, which is nothing where it did
# it. A card's id there is its variable's name: `ask device_del nic`. Files are named from the cell's own folder:
# `ask screendump share/out/shot.ppm gpu`.
ask() {
    rm -f "$out/answer"
    echo "$*" >"$out/ask.part"
    mv "$out/ask.part" "$out/ask"
    wait_until 120 [ -e "$out/answer" ] || problem "nobody answered: $*"
    cat "$out/answer"
}
