# The host's only screen goes to a VM and comes back, as its monitor shows it. The VM's firmware draws on it.
. /lab/lib.sh
. /lab/vms.sh
page=/dev/tty1

# picture NAME: what the monitor shows, as $out/NAME.ppm.
picture() {
    ask screendump "share/out/$1.ppm" screen >"$out/screendump"
    same "the picture $1" '' "$(cat "$out/screendump")"
}

# console NAME: a picture of the text console, with nothing on it but this text.
console() {
    printf '\033c\033[?25lthe host has its screen\n' >"$page"
    sleep 1
    picture "$1"
}

# alike ONE OTHER: whether two pictures are the same, byte by byte.
alike() {
    cmp -s "$out/$1.ppm" "$out/$2.ppm"
}

before=$(state "$screen")
console host
console host-again
alike host host-again || problem 'two pictures of the same console differ'
for end in TERM KILL; do
    want 0 "$end-prepare" vfioneer hook run prepare "$screen" --single-gpu --vm one
    same 'the screen is on vfio' vfio-pci "$(driver "$screen")"
    picture prepared
    ! alike prepared host || problem 'the console is still on the screen'
    qemu-system-x86_64 -M q35,accel=tcg -m 256M -nodefaults -display none -vga none -monitor none -serial "file:$out/$end-serial" \
        -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
        -device "vfio-pci,host=$screen" >"$out/$end-qemu" 2>&1 &
    qemu=$!
    tries=60
    while sleep 5 && picture "$end-vm" && alike "$end-vm" prepared && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
    done
    ! alike "$end-vm" prepared || problem "the VM shows nothing: $(cat "$out/$end-qemu")"
    ! alike "$end-vm" host || problem 'the VM has the console of the host on its screen'
    kill -s "$end" "$qemu"
    wait "$qemu" || true
    want 0 "$end-release" vfioneer hook run release "$screen"
    same "the screen after $end" "$before" "$(state "$screen")"
    # What was on the console comes back by itself, and what is written to it is seen.
    sleep 1
    picture "$end-back"
    alike "$end-back" host || problem "the host's text did not come back after $end"
    console "$end-host"
    alike "$end-host" host || problem "the console is not back on the screen after $end"
done
