# A device that is pulled out while it is handed over, and while it is away; an error that it reports.
. /lab/lib.sh

# An error that it reports while it is away: the kernel handles it, and the device is brought back to where it belongs.
before=$(state "$virtio")
want 0 error-bind vfioneer bind "$virtio" --yes
ask pcie_aer_inject_error virtio DLP >"$out/injected"
# The kernel counts it for nobody: after a fatal error it does not ask the device which one it was (Linux 6.12 drivers/pci/pcie/aer.c).
reported() { dmesg | grep -q "$virtio: AER: PCIe Bus Error: severity=Uncorrectable (Fatal)"; }
wait_until 60 reported || problem "no error was reported: $(cat "$out/injected")"
want 0 error-reset vfioneer reset "$virtio" --yes
want 0 error-check vfioneer reset "$virtio" --check
want 0 error-unbind vfioneer unbind "$virtio" --yes
same 'the device after its error' "$before" "$(state "$virtio")"

# Away, pulled out, and given back: what is not there needs no way back, and others go on.
want 0 bind vfioneer bind "$nic" --yes
same 'it is pulled out' '' "$(ask device_del nic)"
wait_until 60 [ ! -e "$devices/$nic" ] || problem 'it was not pulled out'
want 2 unbind-gone vfioneer unbind "$nic" --yes
want 0 other vfioneer bind "$virtio" --yes
want 0 other-back vfioneer unbind "$virtio" --yes

# Pulled out at any moment of handing over.
own=$(driver "$virtio")
same 'the other one has its driver' virtio-pci "$own"
(sleep 0.3; ask device_del virtio >"$out/pulled") &
code=0
vfioneer bind "$virtio" --yes >"$out/pulling" 2>&1 || code=$?
wait
case $code in 0 | 2 | 3 | 4) ;; *) problem "pulled out while it was handed over: exit code $code: $(cat "$out/pulling")" ;; esac
wait_until 60 [ ! -e "$devices/$virtio" ] || problem 'the other one was not pulled out'
want 2 nothing-left vfioneer bind "$virtio" --yes
[ ! -e /run/vfioneer/handed-over.json ] || ! grep -Eq 'going|coming|stuck|left' /run/vfioneer/handed-over.json || problem 'something is still on its way'
