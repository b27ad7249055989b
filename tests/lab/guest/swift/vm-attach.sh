# VMs of libvirt's get devices by `vm attach`, unedited: a GPU, on which the VM's firmware draws what it draws on an emulated one, and a card with
# three functions, which the guest has in one slot. What one VM has no other gets. All of it is taken back.
. /lab/lib.sh
. /lab/vms.sh

# efi NAME [ARGUMENT VALUE]: a VM that OVMF starts, without a display of its own; with that argument for its QEMU.
efi() {
    {
        echo "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>$1</name><memory unit='MiB'>256</memory>"
        echo "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type>"
        echo "<firmware><feature enabled='no' name='secure-boot'/></firmware></os><features><acpi/></features>"
        echo "<devices><controller type='usb' model='none'/><memballoon model='none'/><video><model type='none'/></video></devices>"
        [ -z "${2:-}" ] || echo "<qemu:commandline><qemu:arg value='$2'/><qemu:arg value='$3'/></qemu:commandline>"
        echo '</domain>'
    } >/tmp/efi.xml
    want 0 "define-$1" virsh -q define /tmp/efi.xml
}

# alike ONE OTHER: whether two pictures are the same, byte by byte.
alike() {
    cmp -s "$out/$1.ppm" "$out/$2.ppm"
}

# outside: what is on the monitor of the passed-through GPU.
outside() {
    ask screendump "share/out/$1.ppm" gpu >"$out/screendump"
}

# inside: what is on the monitor of the emulated one.
inside() {
    virsh -q qemu-monitor-command reference --hmp "screendump $out/$1.ppm drawn" >"$out/screendump"
}

# drawn NAME: whether a picture has more than black.
drawn() {
    [ -n "$(tail -c +17 "$out/$1.ppm" | tr -d '\000' | head -c 1)" ]
}

# given: a picture of the GPU's monitor that is not the first one any more, and stays.
given() {
    sleep 5 && outside given && drawn given && ! alike given given-first && sleep 10 && outside given-last && alike given given-last
}

# expected: whether the emulated GPU's monitor shows the same.
expected() {
    # The firmware has the processor meanwhile.
    sleep 5 && inside expected && alike expected given
}

# hostdevs NAME: how many devices of the host a VM is given.
hostdevs() {
    virsh -q dumpxml --inactive "$1" | grep -c '<hostdev' || true
}

slot=${multi0%.0}
before=$(state "$gpu" "$multi0" "$multi1" "$multi2")
start_daemon
efi one
efi two
virsh -q dumpxml --inactive one >"$out/one-before"
want 0 bind vfioneer bind "$gpu" "$slot" --yes
want 0 dry vfioneer vm attach "$gpu" "$slot" one --dry-run
same 'a dry run changes nothing' 0 "$(hostdevs one)"
want 0 attach vfioneer vm attach "$gpu" "$slot" one --yes
want 0 again vfioneer vm attach "$gpu" "$slot" one --yes
same 'a second time' 'Nothing to do.' "$(cat "$out/again")"
same 'what libvirt has' 4 "$(hostdevs one)"
want 3 both vfioneer vm attach "$gpu" two --yes
same 'what the other VM has' 0 "$(hostdevs two)"
want 0 show vfioneer vm show one --json

want 0 start virsh -q start one
outside given-first
wait_until 10 given || problem 'the VM draws nothing on the GPU'
virsh -q qemu-monitor-command one --hmp 'info pci' >"$out/pci"
# A function is told as `Bus 7, device 0, function 2:`, and its ids in the line behind.
same 'the card in the guest' '0 1 2' "$(grep -B1 -e 8086:10d3 -e 1af4:10 "$out/pci" | sed -n 's/.*device *0, function *\([0-9]*\):.*/\1/p' | tr '\n' ' ' | sed 's/ $//')"
want 0 destroy virsh -q destroy one
# What the same firmware draws where nothing is passed through.
efi reference -device secondary-vga,id=drawn
want 0 start-reference virsh -q start reference
wait_until 10 expected || problem 'the picture on the GPU is not what the firmware draws'
want 0 destroy-reference virsh -q destroy reference

want 0 detach vfioneer vm detach "$gpu" one --yes
same 'without the GPU' 3 "$(hostdevs one)"
want 0 rollback vfioneer rollback --yes
same 'with it again' 4 "$(hostdevs one)"
want 0 rollback-all vfioneer rollback --yes
virsh -q dumpxml --inactive one >"$out/one-after"
same 'the VM afterwards' "$(cat "$out/one-before")" "$(cat "$out/one-after")"
want 0 unbind vfioneer unbind "$gpu" "$slot" --yes
same 'the cards afterwards' "$before" "$(state "$gpu" "$multi0" "$multi1" "$multi2")"
