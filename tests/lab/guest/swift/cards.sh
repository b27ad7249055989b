# What the lab promises to the other scripts: each card is where its variable says, with its own driver and in its own group,
# virtual functions come, and QEMU's monitor does what it is asked.
. /lab/lib.sh

# has ADDRESS DRIVER: a card that this QEMU lacks is no problem.
has() {
    [ ! -e "$devices/$1" ] || same "driver of $1" "$2" "$(driver "$1")"
}

has 0000:00:01.0 cirrus
has "$nic" e1000e
has "$nvme" nvme
has "$igb" igb
has "$multi0" e1000e
has "$multi1" e1000e
has "$multi2" virtio-pci
has "$usb" xhci_hcd
has "$gpu" bochs-drm
has "$gpu2" bochs-drm
has "$audio" snd_hda_intel
has "$virtio" virtio-pci
has "$shared1" bochs-drm
has "$shared2" e1000
state 0000:00:01.0 "$nic" "$multi0" "$gpu" "$gpu2" "$audio" "$virtio" "$bridge" "$shared1" >"$out/state"
same 'the group of a slot' "$(group "$multi0") $(group "$multi0")" "$(group "$multi1") $(group "$multi2")"
same 'the group behind a bridge' "$(group "$bridge") $(group "$bridge")" "$(group "$shared1") $(group "$shared2")"
same 'cards in one group' '' "$(for card in "$nic" "$multi0" "$gpu" "$gpu2" "$audio" "$virtio" "$bridge"; do
    group "$card"
done | sort | uniq -d)"

if [ -e "$devices/$usb" ]; then
    keyboard() { grep -q 'QEMU USB Keyboard' /sys/bus/usb/devices/*/product; }
    stick() { [ -e /sys/block/sda ]; }
    wait_until 30 keyboard || problem 'no USB keyboard'
    wait_until 30 stick || problem 'no USB stick'
fi

for card in "$nvme" "$igb"; do
    [ -e "$devices/$card" ] || continue
    echo 0 >"$devices/$card/sriov_drivers_autoprobe"
    echo 2 >"$devices/$card/sriov_numvfs"
    want 0 "second-function-of-$card" test -e "$devices/$card/virtfn1/config"
    echo 0 >"$devices/$card/sriov_numvfs"
done

ask screendump share/out/shot.ppm gpu >"$out/screendump"
same 'a picture' P6 "$(head -n 1 "$out/shot.ppm")"
gone() { [ ! -e "$devices/$gpu2" ]; }
ask device_del gpu2 >"$out/device_del"
wait_until 30 gone || problem 'the card was not pulled out'
port=$(dirname "$(readlink -f "$devices/$virtio")")
counted() { [ "$(cat "$port/aer_rootport_total_err_fatal")" = 1 ]; }
# Last: its port's link stays down after it.
ask pcie_aer_inject_error virtio DLP >"$out/aer"
wait_until 30 counted || problem 'the error did not come through'
