#!/bin/sh
# Runs inside a lab host, from the share: what the program says, and what it is compared with.
out=/lab/out
program=/usr/local/bin/vfioneer

step() {
    name=$1
    shift
    echo "step $name"
    "$@" >"$out/$name" 2>"$out/$name.err"
    echo "$name $?" >>"$out/status"
}

# The same binary where nothing else is: no libc, no shell, no /etc.
bare() {
    mkdir -p /tmp/bare/proc /tmp/bare/sys
    cp "$program" /tmp/bare/vfioneer
    mount --bind /proc /tmp/bare/proc
    mount --bind /sys /tmp/bare/sys
    chroot /tmp/bare /vfioneer --version
}

cp /lab/vfioneer "$program"
udevadm settle --timeout=120
step sysfs.txt sh /lab/dump.sh
step lspci.txt lspci -Dnnkmmv
step list.json "$program" list --all --json
step check.json "$program" check --json
step asked.json "$program" check --json "$(cat /lab/device)"
step overview "$program"
step capture "$program" capture "$out/host.tar.zst"
step rom-nic "$program" rom dump 01:00.0 "$out/nic.rom"
step rom-nic-in-use "$program" rom dump 01:00.0 "$out/nic-in-use.rom" --in-use
step rom-display "$program" rom dump 00:01.0 "$out/display.rom"
# Switched off again: reading is "Invalid argument".
step rom-off sh -c '! cat /sys/bus/pci/devices/0000:01:00.0/rom'
step bare bare
dmesg >"$out/dmesg"
echo 'end 0' >>"$out/status"
