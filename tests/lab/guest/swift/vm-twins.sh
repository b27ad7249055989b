# One of two identical GPUs goes to a VM, whose firmware draws on it. The other one keeps its driver and the host's console all the while.
. /lab/lib.sh
. /lab/vms.sh

# picture CARD NAME: what its monitor shows, as $out/NAME.ppm.
picture() {
    ask screendump "share/out/$2.ppm" "$1" >"$out/screendump"
    same "the picture $2" '' "$(cat "$out/screendump")"
}

# alike ONE OTHER: whether two pictures are the same, byte by byte.
alike() {
    cmp -s "$out/$1.ppm" "$out/$2.ppm"
}

# console TEXT NAME: a picture of the host's console, with nothing on it but this text.
console() {
    printf '\033c\033[?25l%s\n' "$1" >/dev/tty1
    sleep 1
    picture gpu2 "$2"
}

# kept WHEN: the twin is as it was, and shows what the host writes.
kept() {
    same "the twin $1" "$twin" "$(state "$gpu2")"
    console 'the host has its screen' now
    alike now host || problem "the twin does not show the console $1"
    console 'and writes on it' now
    alike now written || problem "the console is not written to $1"
}

twin=$(state "$gpu2")
before=$(state "$gpu")
# shellcheck disable=SC2154 # of the cell's cards
same 'the twins' "$(attribute "$gpu" vendor) $(attribute "$gpu" device)" "$(attribute "$gpu2" vendor) $(attribute "$gpu2" device)"
# The console goes to the twin: FBIOPUT_CON2FBMAP (Linux include/uapi/linux/fb.h).
screen=$(basename "$devices/$gpu2"/graphics/fb*)
perl -e 'open(my $fb, "+<", "/dev/fb0") or die $!; ioctl($fb, 0x4610, pack("LL", 1, $ARGV[0])) or die $!' "${screen#fb}"
console 'the host has its screen' host
console 'and writes on it' written
! alike host written || problem 'two texts on the console make one picture'
kept 'before all'

want 0 bind vfioneer bind "$gpu" --yes
same 'the GPU' vfio-pci "$(driver "$gpu")"
kept 'when its twin is on vfio'
picture gpu prepared
run_vm "$gpu"
tries=60
while sleep 5 && picture gpu vm && alike vm prepared && [ "$tries" -gt 0 ]; do
    tries=$((tries - 1))
done
! alike vm prepared || problem "the VM shows nothing: $(cat "$out/vm-qemu")"
! ended "$vm" || problem "the VM has ended: $(cat "$out/vm-qemu")"
kept 'while a VM has the other'
! alike vm now || problem 'both show the same'
end_vm
kept 'after the VM'
want 0 unbind vfioneer unbind "$gpu" --yes
same 'the GPU afterwards' "$before" "$(state "$gpu")"
kept 'at the end'
