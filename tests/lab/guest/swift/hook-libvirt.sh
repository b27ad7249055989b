# A real libvirt starts and ends VMs with the hook in place: what is well is left as it is, what was taken is given back, and nothing else
# of libvirt's notices.
. /lab/lib.sh
. /lab/vms.sh
rounds=20
given=/run/vfioneer/given.json

# tree: all that is in the folder of hooks.
tree() {
    find "$hooks" -printf '%P %M %u %g %l\n' | sort
    find "$hooks" -type f -exec sha256sum {} + | sort
}

# runs PHASE: how often that went well for the VM.
runs() {
    vfioneer history --vm vm | grep -c " $1 .* well " || true
}

# released: the VM has nothing any more, and its NIC is as it was.
released() {
    [ ! -e "$given" ] || problem "$1: somebody still has something: $(cat "$given")"
    same "the NIC after $1" "$before" "$(state "$nic")"
    answers "$nic" || problem "$1: the NIC does not answer"
}

# An owner's own hooks: libvirt runs `qemu`, then those in qemu.d.
mkdir -p "$hooks/qemu.d"
for hook in qemu qemu.d/10-first qemu.d/90-last; do
    # shellcheck disable=SC2016 # the hook's own
    printf '#!/bin/sh\necho "$0 $1 $2 $3" >>/tmp/own\ncat >/dev/null\n' >"$hooks/$hook"
    chmod 755 "$hooks/$hook"
done
hooks_before=$(tree)
start_daemon
define plain
define vm "$nic" no
define second "$nic" no
define broken "$nic" no -nothing
define home "$virtio" no
define managed "$gpu" yes
want 0 plain virsh -q start plain
plain=$(qemu_of plain)
want 0 bind vfioneer bind "$nic" --yes
before=$(state "$nic")
want 0 install vfioneer hook install --libvirt --yes
want 0 install-again vfioneer hook install --libvirt --yes
want 0 install-home vfioneer hook install --libvirt --vm home --return --yes
want 0 install-managed vfioneer hook install --libvirt --vm managed --return --yes
restart_daemon
want 0 verify vfioneer verify

# Again and again, beside a VM without devices.
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    : >/tmp/own
    want 0 start virsh -q start vm
    grep -q '"vm"' "$given" || problem "round $round: it is not written down who has the NIC"
    want 0 destroy virsh -q destroy vm
    released "round $round"
    same "what was noted by round $round" "$round $round" "$(runs prepare) $(runs release)"
    for hook in qemu qemu.d/10-first qemu.d/90-last; do
        for phase in 'prepare begin' 'start begin' 'started begin' 'stopped end' 'release end'; do
            same "$hook at $phase in round $round" 1 "$(grep -c "^$hooks/$hook vm $phase" /tmp/own)"
        done
    done
done
want 0 history.json vfioneer history --vm vm --json
same 'runs in JSON' "$((rounds * 2))" "$(grep -c '"failed": null' "$out/history.json")"
same 'resets in JSON' "$((rounds * 2))" "$(grep -c '"resets": \[\]' "$out/history.json")"
want 0 nothing-of-plain vfioneer history --vm plain
! grep -q plain "$out/nothing-of-plain" || problem 'a VM without devices is in the history'
same 'the VM without devices' "$plain" "$(qemu_of plain)"

# The daemon starts anew while both run: neither ends.
want 0 start-both virsh -q start vm
qemu=$(qemu_of vm)
restart_daemon
same 'after a restart of the daemon' 'running running' "$(virsh -q domstate vm | head -n 1) $(virsh -q domstate plain | head -n 1)"
same 'the processes after it' "$qemu $plain" "$(qemu_of vm) $(qemu_of plain)"

# Another VM wants the same device: it does not start, and what runs keeps it.
want 1 second virsh -q start second
grep -q 'was given to VM vm' "$out/second.err" || problem "who has it is not named: $(cat "$out/second.err")"
grep -q '"vm"' "$given" || problem 'the other VM took it away'
same 'the process after it' "$qemu" "$(qemu_of vm)"

# QEMU is killed, and QEMU does not start at all.
kill -9 "$qemu"
wait_until 60 off vm || problem 'libvirt does not notice that QEMU is gone'
released 'a kill'
want 1 broken virsh -q start broken
released 'a start that failed'
want 0 history-broken vfioneer history --vm broken
same 'what was noted of it' '1 1' "$(grep -c ' prepare .* well ' "$out/history-broken") $(grep -c ' release .* well ' "$out/history-broken")"

# What a VM borrows goes home, whether or not libvirt gives it away itself.
for pair in "home $virtio" "managed $gpu"; do
    vm=${pair% *} function=${pair#* }
    own=$(state "$function")
    want 0 "$vm-start" virsh -q start "$vm"
    same "$vm runs" vfio-pci "$(driver "$function")"
    want 0 "$vm-end" virsh -q destroy "$vm"
    same "what $vm borrowed" "$own" "$(state "$function")"
    want 0 "history-$vm" vfioneer history --vm "$vm"
done

# What a VM without devices has to wait for.
virsh dumpxml plain >/tmp/plain.xml
times=20

# spent COMMAND…: hundredths of a second, that many times.
spent() {
    began=$(cut -d ' ' -f 1 /proc/uptime | tr -d .)
    round=0
    while [ "$round" -lt "$times" ]; do
        round=$((round + 1))
        "$@" </tmp/plain.xml >/dev/null
    done
    echo "$(($(cut -d ' ' -f 1 /proc/uptime | tr -d .) - began))"
}

{
    echo "hundredths of a second for $times times:"
    echo "the hook where it looks at the VM: $(spent "$hooks/qemu.d/50-vfioneer" plain prepare begin -)"
    echo "the hook where it does not: $(spent "$hooks/qemu.d/50-vfioneer" plain started begin -)"
    echo "the program's bare start: $(spent vfioneer --version)"
} >"$out/plain-time"

# Taken away, and nothing is left of it.
want 0 remove vfioneer hook remove --libvirt --yes
same 'the hooks' "$hooks_before" "$(tree)"
restart_daemon
noted=$(runs prepare)
want 0 without virsh -q start vm
want 0 without-end virsh -q destroy vm
same 'what was noted without the hook' "$noted" "$(runs prepare)"
same 'the VM without devices at the end' "$plain" "$(qemu_of plain)"
