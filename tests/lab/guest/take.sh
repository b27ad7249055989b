#!/bin/sh
# Runs inside a lab host, from the share: one stage of taking a device. /lab/stage names the functions to run.
out=/lab/out
program=/usr/local/bin/vfioneer
device=$(cat /lab/device)
options=$(cat /lab/options)
export COLUMNS=80

# step NAME COMMAND…: keeps what it wrote and its exit code.
step() {
    name=$1
    shift
    began=$(date +%s)
    echo "step $name"
    "$@" >"$out/$name" 2>"$out/$name.err"
    code=$?
    took=$(($(date +%s) - began))
    printf '%s\n' "$name $code" "$name.took $took" >>"$out/status"
    echo "done $name: $code after $took s"
}

# What every stage is judged by: who drives what, how it was booted, what lies on the disk.
look() {
    sh /lab/dump.sh >"$out/sysfs.txt"
    cat /proc/cmdline >"$out/cmdline"
    uname -r >"$out/release"
    sh /lab/tree.sh | sort >"$out/tree"
    dmesg | grep 'vfioneer' >"$out/claim.log"
}

# The host before anything was done to it.
first() {
    cp /lab/vfioneer "$program"
    # What the first start makes by itself is there before the first look.
    "$program" >/dev/null 2>&1
    look
}

take() {
    first
    # shellcheck disable=SC2086 # words
    step plan "$program" plan "$device" $options -o /root/plan.json
    [ -e /root/plan.json ] && cp /root/plan.json "$out/plan.json"
    step apply "$program" apply /root/plan.json --yes
    rm -f /root/plan.json
}

# What was applied is so without a reboot.
now() {
    step now "$program" verify
    # shellcheck disable=SC2086 # words
    step again "$program" plan "$device" $options --check
    sh /lab/dump.sh >"$out/now.txt"
}

apply() {
    # shellcheck disable=SC2086 # words
    step apply "$program" apply "$device" $options --yes
}

# After a power cut: what the program makes of it.
recover() {
    step recovered "$program" history
}

verify() {
    look
    step verify "$program" verify
    # shellcheck disable=SC2086 # words
    step drift "$program" plan "$device" $options --check
    # No native driver has it any more, so its ROM is read unasked.
    [ -e "/sys/bus/pci/devices/$device/rom" ] && step rom "$program" rom dump "$device" "$out/device.rom"
}

kernel() {
    step dpkg dpkg -i /lab/kernel.deb
    step next "$program" verify --next-boot
}

# Chooses the entry without passthrough for one boot.
off() {
    if [ -e /boot/grub/grub.cfg ]; then
        entry=$(sed -n "s/^[[:space:]]*menuentry .*menuentry_id_option '\(vfioneer-off-[^']*\)'.*/\1/p" /boot/grub/grub.cfg | head -n 1)
        step choose grub-reboot "vfioneer-off>$entry"
    else
        entry=$(grep -l 'vfioneer=off' /boot/efi/loader/entries/*.conf | head -n 1)
        step choose bootctl set-oneshot "${entry##*/}"
    fi
}

rollback() {
    step rollback "$program" rollback --yes
    step history "$program" history
}

refused() {
    first
    mv "$out/tree" "$out/before"
    step plan "$program" plan "$device" -o /root/plan.json
    step apply "$program" apply "$device" --yes
    look
}

udevadm settle --timeout=120
for stage in $(cat /lab/stage); do
    $stage
done
echo 'end 0' >>"$out/status"
