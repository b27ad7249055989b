# Every way to reset, alone and as a ladder; each proves that the device came back, and leaves nothing switched.
. /lab/lib.sh

# well NAME ADDRESS…: it answers, with all that it had.
well() {
    what=$1
    shift
    want 0 "$what-check" vfioneer reset "$@" --check
    same "$what" "$before" "$(state "$@")"
}

same 'the driver at first' e1000e "$(driver "$nic")"
want 3 native vfioneer reset "$nic" --yes
want 0 bind vfioneer bind "$nic" --yes
before=$(state "$nic")
methods=$(attribute "$nic" reset_method)
want 0 ladder vfioneer reset "$nic" --yes --json
grep -q '"worked": true' "$out/ladder" || problem "no rung worked: $(cat "$out/ladder")"
well 'after the ladder' "$nic"
for method in $methods hot rescan; do
    want 0 "only-$method" vfioneer reset "$nic" --yes --method "$method"
    well "after $method" "$nic"
    same "the methods after $method" "$methods" "$(attribute "$nic" reset_method)"
done
want 3 unknown vfioneer reset "$nic" --yes --method nothing
want 0 config-answers sh -c "[ \$(od -An -tx2 -N2 $devices/$nic/config) = 8086 ]"

# Somebody has it.
sleep 1000 3<>"/dev/vfio/$(group "$nic")" &
holder=$!
want 3 held vfioneer reset "$nic" --yes
grep -q "sleep (pid $holder)" "$out/held.err" || problem "the holder is not named: $(cat "$out/held.err")"
kill "$holder"
wait "$holder" || true

# A slot with three functions: the kernel never resets the bus for one of them, vfio does for all.
slot=${multi0%.0}
want 0 bind-slot vfioneer bind "$slot" --yes
before=$(state "$multi0" "$multi1" "$multi2")
want 0 slot vfioneer reset "$multi0" "$multi1" "$multi2" --yes --method hot
well 'the slot after hot' "$multi0" "$multi1" "$multi2"
want 0 slot-rescan vfioneer reset "$multi0" "$multi1" "$multi2" --yes --method rescan
# Functions that the kernel finds anew may be grouped in another way.
ungrouped() { state "$@" | sed 's/ group=[0-9]*//'; }
same 'the slot after rescan' "$(echo "$before" | sed 's/ group=[0-9]*//')" "$(ungrouped "$multi0" "$multi1" "$multi2")"
want 0 slot-rescan-check vfioneer reset "$slot" --check
want 0 unbind-one vfioneer unbind "$multi1" --only --yes
before=$(state "$multi0" "$multi1" "$multi2")
want 3 beside-driver vfioneer reset "$multi0" --yes --method hot
grep -q "$multi1" "$out/beside-driver.err" || problem "what is in the way is not named: $(cat "$out/beside-driver.err")"
same 'the slot after the refusal' "$before" "$(state "$multi0" "$multi1" "$multi2")"

# What is listed and does not work is told, and the ladder goes on: the kernel lists the bus for the first function of a slot, and
# resets no bus for one of several.
want 0 back vfioneer unbind "$multi0" "$multi1" "$multi2" --yes
want 0 again vfioneer bind "$slot" --yes
if attribute "$multi0" reset_method | grep -q bus; then
    before=$(state "$multi0" "$multi1" "$multi2")
    methods=$(attribute "$multi0" reset_method)
    want 1 stale-bus vfioneer reset "$multi0" --yes --method bus
    for method in $(echo "$methods" | sed 's/bus//'); do
        want 0 "beside-a-stale-$method" vfioneer reset "$multi0" --yes --method "$method"
    done
    # What the kernel does not take is not listed any more.
    same 'the methods after a stale one' "$(echo "$methods" | sed 's/ *bus//')" "$(attribute "$multi0" reset_method | sed 's/ *bus//')"
    well 'after a stale bus method' "$multi0" "$multi1" "$multi2"
fi

# Virtual functions come back with their number.
if [ -e "$devices/$nvme/sriov_numvfs" ]; then
    echo 0 >"$devices/$nvme/sriov_drivers_autoprobe"
    echo 2 >"$devices/$nvme/sriov_numvfs"
    before=$(state "$nvme")
    want 0 vfs vfioneer reset "$nvme" --yes --method rescan --allow in-use
    same 'the physical function' "$before" "$(state "$nvme")"
fi
