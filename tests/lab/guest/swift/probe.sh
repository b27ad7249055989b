# Devices are opened through vfio without a VM: a NIC, a disk, a USB controller, a display, two cards on a conventional bus, and a
# slot with three functions, of which the hot reset touches all. What is not on vfio, or is open elsewhere, is refused, and everything is as before.
. /lab/lib.sh

# ready NAME ADDRESS…: a probe of these that must go well, as text and as JSON.
ready() {
    name=$1
    shift
    want 0 "$name" vfioneer probe "$@"
    want 0 "$name.json" vfioneer probe --json "$@"
}

# said NAME TEXT…: each must stand in what that step wrote.
said() {
    name=$1
    shift
    for text; do
        grep -qF -- "$text" "$out/$name" "$out/$name.err" || problem "$name does not say: $text"
    done
}

want 3 not-on-vfio vfioneer probe "$nic"
said not-on-vfio 'the driver e1000e has' 'vfioneer bind'
want 3 json-not-on-vfio vfioneer --json probe "$nic"
want 2 nothing vfioneer probe 0000:7f:00.0

# kmod would have loaded it with vfio, as its softdep says; busybox does not.
give "$nic" vfio-pci
want 1 no-iommu-driver vfioneer probe "$nic"
said no-iommu-driver 'modprobe vfio_iommu_type1'
modprobe vfio_iommu_type1

for card in "$nic" "$usb" ${nvme:+"$nvme"}; do
    [ -e "$devices/$card" ] || continue
    give "$card" vfio-pci
    before=$(state "$card")
    ready "$card" "$card"
    said "$card" 'it opens' 'it answers' 'BAR 0' 'mapped: reads' 'MSI-X goes on and off' 'DMA: 4.0 KiB' \
        'a hot reset touches only this function' 'it closes'
    same "the state of $card" "$before" "$(state "$card")"
done
said "$nic" 'option ROM' 'begins with 55 aa' 'it answers: 8086:10d3'
want 3 no-iommufd vfioneer probe --interface iommufd "$nic"

give "$multi0" vfio-pci
want 3 group-not-viable vfioneer probe "$multi1"
want 1 siblings-on-their-drivers vfioneer probe "$multi0"
said siblings-on-their-drivers 'not viable'
give "$multi1" vfio-pci
give "$multi2" vfio-pci
ready slot "${multi0%.0}"
said slot 'a hot reset touches 2 other functions, on vfio too' ':00.1' 'Ready: all is well in 3 probes'

# Without a driver the third function does not hold the group, and is in the way of a hot reset.
unbind "$multi2"
want 0 third-without-driver sh -c "vfioneer probe $multi0 || [ \$? = 1 ]"
said third-without-driver 'a hot reset is not possible: it touches 2 other functions, 1 not on vfio' 'no driver'

give "$gpu" vfio-pci
ready display "$gpu"
said display 'it has no interrupts'
give "$shared1" vfio-pci
give "$shared2" vfio-pci
ready conventional "$shared2"
said conventional 'INTx goes on and off' 'a hot reset touches 1 other function, on vfio too'

# What a transaction expects is opened, too, where that is asked.
records=/var/lib/vfioneer/transactions/1
mkdir -p "$records"
{
    echo '{"record":"begin","schema":"vfioneer/journal/1","id":1,"by":{"uid":0,"when":"2026-01-02T03:04:05Z","argv":[]},"version":"0.1.0"}'
    echo '{"record":"end","when":"2026-01-02T03:04:06Z","outcome":"applied"}'
} >"$records/journal"
cat >"$records/plan.json" <<END
{"schema":"vfioneer/plan/1","reboot":false,"expect":[{"kind":"driver","address":"$nic","id":"8086:10d3","driver":"vfio-pci"}]}
END
want 0 verify vfioneer verify --probe
said verify "$nic opens through vfio" 'All true: 2 expectations'

# Somebody has it open.
sleep 1000 9<>"/dev/vfio/$(group "$nic")" &
holder=$!
want 3 held vfioneer probe "$nic"
said held "$holder" 'while it is in use'
want 3 verify-held vfioneer verify --probe
said verify-held 'It was not opened'
kill "$holder"
wait "$holder" || :
want 0 let-go vfioneer probe "$nic"
