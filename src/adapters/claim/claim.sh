#!/bin/sh
# vfioneer: gives the PCI functions listed in /etc/vfioneer/claims to their VM driver, before any other driver gets them.
# Runs in the initramfs before udev, needs no program but modprobe (and od for serial numbers), and always exits with 0.
# The kernel parameter vfioneer=off keeps it from doing anything.

root=${VFIONEER_ROOT:-} # for tests
devices=$root/sys/bus/pci/devices
drivers=$root/sys/bus/pci/drivers
claims=$root/etc/vfioneer/claims
modprobe=$root/sbin/modprobe # not busybox's, which it may prefer to one in PATH
[ -x "$modprobe" ] || modprobe='modprobe'
od=$root/usr/lib/vfioneer/od
[ -x "$od" ] || od='od'

# say LEVEL TEXT: a line in the kernel's log.
say() {
    { echo "<$1>vfioneer: $2" >>"$root/dev/kmsg"; } 2>/dev/null
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

# has_serial DIR: the function has the recorded serial number: extended capability 0003h, low half first
# (PCIe Base 7.9.3). The list is followed for as many steps as capabilities can stand in the space.
has_serial() {
    # shellcheck disable=SC2046 # a word a byte
    set -- $("$od" -An -v -tx1 -j256 -N3840 "$1/config" 2>/dev/null)
    at=1
    steps=480
    id=
    next=
    found=
    while [ "$steps" -gt 0 ] && [ "$at" -ge 1 ] && [ $((at + 11)) -le $# ]; do
        steps=$((steps - 1))
        eval "id=\${$((at + 1))}\${$at} next=0x\${$((at + 3))}\${$((at + 2))}"
        case $id in
        0003)
            eval "found=\${$((at + 11))}-\${$((at + 10))}-\${$((at + 9))}-\${$((at + 8))}"
            eval "found=$found-\${$((at + 7))}-\${$((at + 6))}-\${$((at + 5))}-\${$((at + 4))}"
            [ "$found" = "$serial" ]
            return
            ;;
        ffff) return 1 ;;
        esac
        # The upper twelve bits of the header; the first byte of the space is word 1 here.
        at=$(((next >> 4 & 0xffc) - 255))
    done
    return 1
}

# is_recorded DIR: the function there is what the claim says. A virtual function never is.
is_recorded() {
    value "$1/vendor" && [ "$value" = "0x$vendor" ] &&
        value "$1/device" && [ "$value" = "0x$device" ] && [ ! -e "$1/physfn" ] || return 1
    if [ "$subvendor" != - ]; then
        value "$1/subsystem_vendor" && [ "$value" = "0x$subvendor" ] &&
            value "$1/subsystem_device" && [ "$value" = "0x$subdevice" ] || return 1
    fi
    [ "$serial" = - ] || has_serial "$1"
}

# at_place: the recorded function at the recorded path, whatever its bus number is now, in $place.
at_place() {
    hops=${path#*/}
    domain=${path%%:*}
    place=$devices/${path%%/*}:${hops%%/*}
    # The first hop is on a root bus: no PCI function is above it.
    [ -e "$place/vendor" ] && [ ! -e "$place/../vendor" ] || return 1
    while [ "$hops" != "${hops#*/}" ]; do
        hops=${hops#*/}
        below=
        for child in "$place/$domain":??:"${hops%%/*}"; do
            if [ -e "$child/vendor" ] && [ ! -e "$child/physfn" ]; then
                [ -z "$below" ] || return 1
                below=$child
            fi
        done
        [ -n "$below" ] || return 1
        place=$below
    done
    place=$devices/${place##*/}
    is_recorded "$place"
}

# somewhere_else: the only function of the recorded identity and function number, in $place; else the reason in $reason.
# Without a serial number that is one card only if it had no twin.
somewhere_else() {
    place=
    for candidate in "$devices"/*."${address##*.}"; do
        is_recorded "$candidate" || continue
        if [ "$serial" = - ] && [ "$twins" != no ]; then
            reason='not where it was, and it had a twin'
            return 1
        elif [ -n "$place" ]; then
            reason='not where it was, and found more than once'
            return 1
        fi
        place=$candidate
    done
    reason='not found'
    [ -n "$place" ]
}

# load: the driver is there, built in or loaded now.
load() {
    [ -d "$drivers/$driver" ] || case " $missing " in
    *" $driver "*) false ;;
    *)
        # Not by an install command: on some hosts that is what runs this script.
        "$modprobe" -i "$driver" >/dev/null 2>&1
        [ -d "$drivers/$driver" ] || {
            missing="$missing $driver"
            false
        }
        ;;
    esac
}

# take DIR: gives the function to the driver, or leaves it to whoever had it.
take() {
    name=${1##*/}
    moved=
    [ "$name" = "$address" ] || moved=" (was $address)"
    if ! load; then
        say 4 "$name$moved is not claimed: there is no driver $driver"
        return
    fi
    if has_driver "$1" && [ "$driver_now" = "$driver" ]; then
        say 6 "$name$moved is on $driver already"
        return
    fi
    former=$driver_now
    if write "$1/driver_override" "$driver"; then
        [ -z "$former" ] || write "$1/driver/unbind" "$name"
        write "$root/sys/bus/pci/drivers_probe" "$name"
        if has_driver "$1" && [ "$driver_now" = "$driver" ]; then
            say 6 "$name$moved is claimed by $driver${former:+, before: $former}"
            return
        fi
        write "$1/driver_override" ''
        [ -n "$driver_now" ] || write "$root/sys/bus/pci/drivers_probe" "$name"
    fi
    has_driver "$1"
    say 4 "$name$moved is not claimed: $driver did not take it; now on ${driver_now:-no driver}"
}

# is_hex DIGITS WORD
is_hex() {
    case $2 in *[!0-9a-f]*) false ;; *) [ ${#2} -eq "$1" ] ;; esac
}

# well_formed: the line is one that vfioneer writes.
well_formed() {
    case $address in *[!0-9a-f:.]* | *..* | *.) return 1 ;; ????*:??:??.[0-7]) ;; *) return 1 ;; esac
    case $driver in *[!A-Za-z0-9_-]* | '') return 1 ;; esac
    case $path in *[!0-9a-f:./]* | *..* | *//* | *:*:*) return 1 ;; ????*:??/??.[0-7] | ????*:??/*/??.[0-7]) ;; *) return 1 ;; esac
    case $serial in - | ??-??-??-??-??-??-??-??) ;; *) return 1 ;; esac
    case $twins in yes | no) ;; *) return 1 ;; esac
    [ -z "$more" ] && is_hex 4 "$vendor" && is_hex 4 "$device" || return 1
    [ "$subvendor $subdevice" = '- -' ] || { is_hex 4 "$subvendor" && is_hex 4 "$subdevice"; }
}

if [ ! -r "$claims" ]; then
    say 4 'there is no list of claims'
    exit 0
fi
value "$root/proc/cmdline"
case " $value " in
*' vfioneer=off '*)
    say 6 'nothing is claimed: vfioneer=off'
    exit 0
    ;;
esac
if [ ! -d "$devices" ]; then
    say 4 'nothing is claimed: /sys is not there'
    exit 0
fi

# A slot's first line leads: its other functions are taken at the slot where that one is, or not at all.
slot=
missing=
while read -r address driver vendor device subvendor subdevice path serial twins more <&3 || [ -n "$address" ]; do
    case $address in '#'* | '') continue ;; esac
    if ! well_formed; then
        say 4 "this line of the claims is not understood: $address $driver $vendor $device"
        continue
    fi
    if [ "$slot" != "${address%.*}" ]; then
        slot=${address%.*}
        leader=
        if at_place || somewhere_else; then
            leader=${place%.*}
            take "$place"
        else
            say 4 "$address is not claimed: $vendor:$device is $reason"
        fi
    elif [ -z "$leader" ]; then
        say 4 "$address is not claimed: the first function of its slot was not found"
    elif is_recorded "$leader.${address##*.}"; then
        take "$leader.${address##*.}"
    else
        say 4 "$address is not claimed: $vendor:$device is not function ${address##*.} of ${leader##*/}"
    fi
done 3<"$claims"
exit 0
