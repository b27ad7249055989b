# From a VM's end to a device that the next one can have: with vfioneer's hook, and with that of guide 002, which takes the device out
# of the kernel and looks for it again, whether it is well or not.
. /lab/lib.sh
. /lab/vms.sh
rounds=5
times=10

# As the guide leaves its host: only vfio-pci takes this kind of device, also when the kernel finds it anew.
modprobe -a vfio-pci vfio_iommu_type1
rmmod e1000e
cut -c3- "$devices/$nic/vendor" "$devices/$nic/device" | paste -sd ' ' >/sys/bus/pci/drivers/vfio-pci/new_id
same 'the driver at first' vfio-pci "$(driver "$nic")"
mkdir -p "$hooks/qemu.d"
# The last of all hooks: what is there when they have done their work.
cat >"$hooks/qemu.d/99-last" <<'END'
#!/bin/sh
[ "$2" = release ] || exit 0
read -r seconds _ </proc/uptime
. /lab/lib.sh
. /lab/vms.sh
answers "$nic" || problem 'the NIC does not answer'
driver "$nic" >/tmp/left
echo "${seconds%.*}${seconds#*.}" >/tmp/ended.part
mv /tmp/ended.part /tmp/ended
END
chmod 755 "$hooks/qemu.d/99-last"

# timed NAME: so many starts and ends; the hundredths of a second from the end of each QEMU to the end of the hooks.
timed() {
    restart_daemon
    sum=0
    round=0
    : >"$out/$1-times"
    while [ "$round" -lt "$rounds" ]; do
        round=$((round + 1))
        want 0 "$1-start" virsh -q start vm
        qemu=$(qemu_of vm)
        # It ends by itself: where libvirt ends it, it looks only five times a second whether it is gone.
        kill -9 "$qemu"
        # No pause and no process of its own: both would be measured.
        while [ -e "/proc/${qemu:-none}" ]; do :; done
        gone=$(now)
        wait_until 60 [ -e /tmp/ended ] || problem "$1: the hooks do not come to their end"
        wait_until 60 off vm || problem "$1: the VM does not come to its end"
        same "$1: the NIC after round $round" vfio-pci "$(cat /tmp/left)"
        took=$(($(cat /tmp/ended) - gone))
        echo "$took" >>"$out/$1-times"
        sum=$((sum + took))
        rm /tmp/ended /tmp/left
    done
}

start_daemon
define vm "$nic" no
timed no-hook
none=$sum

# Word by word, but for the addresses and the log.
cat >"$hooks/qemu" <<'END'
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
chmod 755 "$hooks/qemu"
timed guide
guide=$sum
rm "$hooks/qemu"
same 'what the guide logged' "$rounds" "$(grep -c 'Reset done' "$out/gpu-reset.log")"

# The device is as a claim would have it: vfioneer's, and on vfio.
mkdir -p /etc/vfioneer/vms/libvirt
want 0 install vfioneer hook install --libvirt --yes
echo 'reset = "failed"' >/etc/vfioneer/vms/libvirt/vm.toml
timed vfioneer
ours=$sum
want 0 history vfioneer history --vm vm
same 'what vfioneer noted' "$rounds" "$(grep -c 'release .* well' "$out/history")"

echo "hundredths of a second for $rounds ends: no hook $none, guide 002 $guide, vfioneer $ours" | tee "$out/result"
[ $((ours * times)) -le "$guide" ] || problem "not $times times shorter: $(cat "$out/result")"
