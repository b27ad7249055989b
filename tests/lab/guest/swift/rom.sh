# A NIC's ROM is read with no driver, with a sleeping vfio-pci, and not while its own driver has it; nothing stays switched.
. /lab/lib.sh

same 'the driver at first' e1000e "$(driver "$nic")"
before=$(state "$nic")
want 3 with-its-driver vfioneer rom dump "$nic" "$out/driver.rom"
want 1 nothing-written test -e "$out/driver.rom"
same 'after the refusal' "$before" "$(state "$nic")"

unbind "$nic"
before=$(state "$nic")
want 0 without-driver vfioneer rom dump "$nic" "$out/free.rom"
want 0 free-is-whole cmp "$out/free.rom" /lab/nic.rom
same 'after reading it without driver' "$before" "$(state "$nic")"

give "$nic" vfio-pci
asleep() { [ "$(attribute "$nic" power/runtime_status)" = suspended ]; }
wait_until 20 asleep || problem 'vfio-pci does not let it sleep'
before=$(state "$nic")
want 0 asleep vfioneer rom dump "$nic" "$out/asleep.rom"
want 0 asleep-is-whole cmp "$out/asleep.rom" /lab/nic.rom
same 'after waking it' "$before" "$(state "$nic")"
wait_until 20 asleep || problem 'it is awake since its ROM was read'
want 1 off-again cat "$devices/$nic/rom"
