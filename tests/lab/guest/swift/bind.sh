# Functions of every kind go to vfio and back; what is in the way is refused, and nothing is changed then.
. /lab/lib.sh

# One thing after another: refused, there, and back to what was before.
for kind in nic gpu audio usb virtio nvme igb; do
    eval "address=\${$kind:-}"
    [ -e "$devices/${address:-none}" ] || continue
    before=$(state "$address")
    own=$(driver "$address")
    [ -n "$own" ] || problem "$kind has no driver at first"
    want 3 "$kind-unasked" vfioneer bind "$address" </dev/null
    want 0 "$kind-bind" vfioneer bind "$address" --yes
    same "$kind is on vfio" vfio-pci "$(driver "$address")"
    want 0 "$kind-again" vfioneer bind "$address" --yes
    want 0 "$kind-unbind" vfioneer unbind "$address" --yes
    same "$kind after unbind" "$before" "$(state "$address")"
    want 0 "$kind-unbind-again" vfioneer unbind "$address" --yes
done

# A process has it open.
if [ -n "${gpu:-}" ]; then
    card=$(basename "$devices/$gpu"/drm/card*)
    before=$(state "$gpu")
    sleep 1000 3<>"/dev/dri/$card" &
    holder=$!
    want 3 held vfioneer bind "$gpu" --yes
    grep -q "sleep (pid $holder)" "$out/held" || problem "the holder is not named: $(cat "$out/held")"
    same 'the GPU after the refusal' "$before" "$(state "$gpu")"
    want 0 killed vfioneer bind "$gpu" --yes --kill
    same 'the GPU after its holder was ended' vfio-pci "$(driver "$gpu")"
    [ ! -e "/proc/$holder/fd/3" ] || problem 'the holder is still there'
    # Somebody has the group open: the kernel would wait for ever.
    sleep 1000 3<>"/dev/vfio/$(group "$gpu")" &
    holder=$!
    want 3 open vfioneer unbind "$gpu" --yes
    same 'the GPU while it is open' vfio-pci "$(driver "$gpu")"
    kill "$holder"
    wait "$holder" || true
    want 0 closed vfioneer unbind "$gpu" --yes
    same 'the GPU at the end' "$before" "$(state "$gpu")"
    # It comes back by itself.
    want 0 rehearsed vfioneer bind "$gpu" --yes --rehearse 1
    same 'the GPU after the rehearsal' "$before" "$(state "$gpu")"
fi

# A group goes whole, or not at all.
if [ -n "${shared1:-}" ]; then
    before=$(state "$shared1" "$shared2")
    want 3 shared vfioneer bind "$shared1" --yes
    grep -q "$shared2" "$out/shared" || problem "the other one of the group is not named: $(cat "$out/shared")"
    same 'the group after the refusal' "$before" "$(state "$shared1" "$shared2")"
    want 0 whole vfioneer bind "$shared1" "$shared2" --yes
    same 'both are on vfio' 'vfio-pci vfio-pci' "$(driver "$shared1") $(driver "$shared2")"
    want 0 whole-back vfioneer unbind "$shared1" "$shared2" --yes
    same 'the group at the end' "$before" "$(state "$shared1" "$shared2")"
fi

# The functions of a slot in one group, which are named by their slot.
slot=${multi0%.0}
before=$(state "$multi0" "$multi1" "$multi2")
want 3 slot-part vfioneer bind "$multi1" --yes
want 0 slot vfioneer bind "$slot" --yes
same 'the slot is on vfio' 'vfio-pci vfio-pci vfio-pci' "$(driver "$multi0") $(driver "$multi1") $(driver "$multi2")"
want 0 slot-part-back vfioneer unbind "$multi1" --yes --only
want 0 slot-back vfioneer unbind "$slot" --yes
same 'the slot at the end' "$before" "$(state "$multi0" "$multi1" "$multi2")"

# Virtual functions are told from physical ones, and go by themselves.
if [ -e "$devices/${nvme:-none}/sriov_numvfs" ]; then
    echo 0 >"$devices/$nvme/sriov_drivers_autoprobe"
    echo 2 >"$devices/$nvme/sriov_numvfs"
    virtual=$(basename "$(readlink "$devices/$nvme/virtfn0")")
    before=$(state "$nvme" "$virtual")
    want 0 vf vfioneer bind "$virtual" --yes
    same 'a virtual function alone' 'nvme vfio-pci' "$(driver "$nvme") $(driver "$virtual")"
    sleep 1000 3<>"/dev/vfio/$(group "$virtual")" &
    holder=$!
    want 3 vf-held vfioneer bind "$nvme" --yes
    grep -q "$virtual" "$out/vf-held" || problem "the virtual function in use is not named: $(cat "$out/vf-held")"
    kill "$holder"
    wait "$holder" || true
    want 0 vf-back vfioneer unbind "$virtual" --yes
    echo 0 >"$devices/$nvme/sriov_numvfs"
fi

# What is no function to give away, or not there.
want 2 nowhere vfioneer bind 0000:7f:00.0 --yes
want 2 garbage vfioneer bind 'a b"c' --yes
want 3 bridge vfioneer bind "$(basename "$(dirname "$(readlink -f "$devices/$nic")")")" --yes
