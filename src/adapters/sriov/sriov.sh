#!/bin/sh
# vfioneer: sriov.sh ADDRESS COUNT: has a physical function make COUNT virtual ones, and gives each to vfio-pci.
# A rule of udev's runs it once a driver has the function (90-vfioneer-sriov.rules). Needs no program but modprobe, and always exits with 0.
# The kernel parameter vfioneer=off keeps it from doing anything.

root=${VFIONEER_ROOT:-} # for tests
devices=$root/sys/bus/pci/devices
drivers=$root/sys/bus/pci/drivers
modprobe=$root/sbin/modprobe
[ -x "$modprobe" ] || modprobe='modprobe'

# say LEVEL TEXT: a line in the kernel's log.
say() {
    { echo "<$1>vfioneer-sriov: $address $2" >>"$root/dev/kmsg"; } 2>/dev/null
}

# write FILE TEXT: to the kernel; false if it refuses.
write() {
    { echo "$2" >"$1"; } 2>/dev/null
}

# value FILE: its first line in $value; false if there is none.
value() {
    value=
    { read -r value <"$1"; } 2>/dev/null
}

# has_driver DIR: the name of the driver that has the function, in $driver_now; false if none has it.
has_driver() {
    driver_now=
    [ -e "$1/driver" ] || return 1
    driver_now=$(cd -P "$1/driver" 2>/dev/null && pwd -P)
    driver_now=${driver_now##*/}
}

# load: vfio-pci is there, built in or loaded now.
load() {
    [ -d "$drivers/vfio-pci" ] || "$modprobe" -i vfio-pci >/dev/null 2>&1
    [ -d "$drivers/vfio-pci" ]
}

# take NAME: gives a virtual function to vfio-pci. One that another driver has may be in use, and keeps it.
take() {
    if has_driver "$devices/$1"; then
        [ "$driver_now" = vfio-pci ] || say 4 "leaves its virtual function $1 to $driver_now"
        return
    fi
    # With an override it is probed although autoprobe is off (Linux 6.12 drivers/pci/pci-driver.c pci_device_can_probe).
    write "$devices/$1/driver_override" vfio-pci && write "$root/sys/bus/pci/drivers_probe" "$1"
    has_driver "$devices/$1" || say 4 "has a virtual function that vfio-pci did not take: $1"
}

address=$1
count=$2
pf=$devices/$address
case $address in *[!0-9a-f:.]* | '') exit 0 ;; esac
case $count in *[!0-9]* | '' | 0*) exit 0 ;; esac

value "$root/proc/cmdline"
case " $value " in
*' vfioneer=off '*)
    say 6 'is given no virtual functions: vfioneer=off'
    exit 0
    ;;
esac
has_driver "$pf" || exit 0
case $driver_now in
*vfio-pci | *vfio_pci)
    say 4 "is given no virtual functions: $driver_now has it"
    exit 0
    ;;
esac
if ! value "$pf/sriov_numvfs"; then
    say 4 'is given no virtual functions: it offers no SR-IOV'
    exit 0
fi
if [ "$value" != 0 ] && [ "$value" != "$count" ]; then
    say 4 "keeps its $value virtual functions, made by something else, instead of $count"
    exit 0
fi
# First: else the native driver has each as soon as it is there.
write "$pf/sriov_drivers_autoprobe" 0
if [ "$value" = 0 ]; then
    load
    write "$pf/sriov_numvfs" "$count"
    value "$pf/sriov_numvfs"
    if [ "$value" != "$count" ]; then
        say 4 "has $value virtual functions instead of $count: its driver $driver_now made no more"
    fi
fi
if ! load; then
    say 4 'has virtual functions, and there is no driver vfio-pci'
    exit 0
fi
taken=0
for link in "$pf"/virtfn*; do
    [ -e "$link" ] || continue
    name=$(cd -P "$link" 2>/dev/null && pwd -P)
    take "${name##*/}"
    [ "$driver_now" != vfio-pci ] || taken=$((taken + 1))
done
say 6 "has $value virtual functions, $taken on vfio-pci"
exit 0
