# A VM's firmware runs the NIC's own option ROM: it asks for an address and fetches a file over the NIC, from outside of this host. First with
# plain QEMU, then with libvirt.
. /lab/lib.sh
. /lab/vms.sh

# script NAME: what iPXE is given by the network: it says a line that nobody else knows, which is $line.
script() {
    line="$1 $(cat /proc/sys/kernel/random/uuid)"
    # What is there may be kept by the server's machine for a while.
    rm -f "$out/boot.ipxe"
    printf '#!ipxe\necho %s\n' "$line" >"$out/boot.ipxe"
}

[ ! -e /opt/lib/modules ] || ! grep -q svm /proc/cpuinfo || start_kvm
before=$(state "$onboard")
want 0 bind vfioneer bind "$onboard" --yes

script qemu
run_vm --firmware seabios "$onboard"
wait_until 300 console_says "$line" || problem "the line did not arrive: $(tail -c 500 "$out/vm-console") $(cat "$out/vm-qemu")"
end_vm
cp "$out/vm-console" "$out/qemu-console"

script libvirt
start_daemon
[ -c /dev/kvm ] && type=kvm || type=qemu
cat >/tmp/domain.xml <<XML
<domain type='$type'><name>vm</name><memory unit='MiB'>256</memory>
<os><type arch='x86_64' machine='q35'>hvm</type><bios useserial='yes'/></os>
<features><acpi/></features>
<devices><controller type='usb' model='none'/><memballoon model='none'/><video><model type='none'/></video>
<serial type='file'><source path='$out/vm-console'/></serial>
</devices></domain>
XML
rm -f "$out/vm-console"
want 0 define virsh -q define /tmp/domain.xml
want 0 attach vfioneer vm attach "$onboard" vm --yes
virsh dumpxml --inactive vm >"$out/domain.xml"
want 0 start virsh -q start vm
wait_until 300 console_says "$line" || problem "the line did not arrive with libvirt: $(tail -c 500 "$out/vm-console")"
off vm || want 0 destroy virsh -q destroy vm
want 0 unbind vfioneer unbind "$onboard" --yes
same 'the NIC afterwards' "$before" "$(state "$onboard")"
