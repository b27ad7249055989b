# From a VM's end to a device that the next one can have: with vfioneer's hook, and with that of guide 002, which takes the device out
# of the kernel and looks for it again, whether it is well or not.
. /lab/lib.sh
. /lab/vms.sh
rounds=5

# As the guide leaves its host: only vfio-pci takes this kind of device, also when the kernel finds it anew.
modprobe -a vfio-pci vfio_iommu_type1
rmmod e1000e
cut -c3- "$devices/$nic/vendor" "$devices/$nic/device" | paste -sd ' ' >/sys/bus/pci/drivers/vfio-pci/new_id
same 'the driver at first' vfio-pci "$(driver "$nic")"
# libvirt runs `qemu`, and then those in qemu.d: the first takes the time once QEMU has gone, the last once all others have returned.
mkdir -p "$hooks/qemu.d"
cat >"$hooks/qemu" <<'END'
#!/bin/sh
[ "$2" != stopped ] || cat /proc/uptime >/tmp/began
END
cat >"$hooks/qemu.d/99-last" <<'END'
#!/bin/sh
[ "$2" = release ] || exit 0
cat /proc/uptime >/tmp/ended
. /lab/lib.sh
. /lab/vms.sh
answers "$nic" || problem 'the NIC does not answer'
driver "$nic" >/tmp/left
END
chmod 755 "$hooks/qemu" "$hooks/qemu.d/99-last"

# hundredths FILE: of a second, at which it was written.
hundredths() {
    read -r seconds _ <"$1"
    echo "${seconds%.*}${seconds#*.}"
}

# timed NAME: so many starts and ends; the hundredths of a second that each end took, and in $best those of the one that this machine's
# load disturbed least.
timed() {
    restart_daemon
    round=0
    : >"$out/$1-times"
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        want 0 "$1-start" virsh -q start vm
        qemu=$(qemu_of vm)
        kill -9 "$qemu"
        wait_until 60 off vm || problem "$1: the VM does not come to its end"
        same "$1: the NIC after round $round" vfio-pci "$(cat /tmp/left)"
        [ ! -e "/proc/${qemu:-none}" ] || problem "$1: QEMU is still there"
        echo "$(($(hundredths /tmp/ended) - $(hundredths /tmp/began)))" >>"$out/$1-times"
        rm /tmp/began /tmp/ended /tmp/left
    done
    best=$(sort -n "$out/$1-times" | head -n 1)
}

start_daemon
define vm "$nic" no
timed no-hook
none=$best

# Word by word, but for the addresses and the log.
cat >"$hooks/qemu.d/50-guide" <<'END'
#!/bin/bash
# GPU reset hook for RTX Passthrough VMs

VM_NAME="$1"
ACTION="$2"
PHASE="$3"

. /lab/cards
GPU_PCI="$nic"
AUDIO_PCI="0000:7f:00.1"

LOGFILE="/lab/out/gpu-reset.log"

if [[ "$ACTION" == "stopped" && "$PHASE" == "end" ]]; then
    echo "[$(date)] VM $VM_NAME stopped. Resetting GPU..." >> $LOGFILE

    echo 1 > /sys/bus/pci/devices/$GPU_PCI/remove
    echo 1 > /sys/bus/pci/devices/$AUDIO_PCI/remove 2>/dev/null

    sleep 2

    echo 1 > /sys/bus/pci/rescan

    echo "[$(date)] GPU Reset done." >> $LOGFILE
fi
END
chmod 755 "$hooks/qemu.d/50-guide"
timed guide
guide=$best
rm "$hooks/qemu.d/50-guide"
same 'what the guide logged' "$rounds" "$(grep -c 'Reset done' "$out/gpu-reset.log")"

# The device is as a claim would have it: vfioneer's, and on vfio.
mkdir -p /etc/vfioneer/vms/libvirt
want 0 install vfioneer hook install --libvirt --yes
echo 'reset = "failed"' >/etc/vfioneer/vms/libvirt/vm.toml
timed vfioneer
ours=$best
want 0 history vfioneer history --vm vm
same 'what vfioneer noted' "$rounds" "$(grep -c 'release .* well' "$out/history")"

echo "hundredths of a second from the end of a VM: no hook $none, guide 002 $guide, vfioneer $ours" | tee "$out/result"
