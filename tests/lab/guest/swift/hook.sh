# What happens with a VM's devices before it starts and after it has ended, as hypervisors' hooks call it. No VM runs here: who has the
# devices open is played.
. /lab/lib.sh

given=/run/vfioneer/given.json

# xml NAME ADDRESS…: a domain with these functions.
xml() {
    printf "<domain type='kvm'><name>%s</name><devices>" "$1"
    shift
    for function; do
        printf "<hostdev mode='subsystem' type='pci' managed='no'><source><address domain='0x%s' bus='0x%s' slot='0x%s' function='0x%s'/></source></hostdev>" \
            "$(echo "$function" | cut -c1-4)" "$(echo "$function" | cut -c6-7)" "$(echo "$function" | cut -c9-10)" "$(echo "$function" | cut -c12)"
    done
    echo '</devices></domain>'
}

# Around plain QEMU: there, nobody else's, and back.
before=$(state "$nic")
want 0 prepare vfioneer hook run prepare "$nic" --vm one --return
same 'the NIC is on vfio' vfio-pci "$(driver "$nic")"
want 3 twice vfioneer hook run prepare "$nic" --vm two
grep -q 'was given to VM one' "$out/twice.err" || problem "who has it is not named: $(cat "$out/twice.err")"
want 0 again vfioneer hook run prepare "$nic" --vm one --return
want 0 release vfioneer hook run release "$nic"
same 'the NIC after its VM' "$before" "$(state "$nic")"
[ ! -e "$given" ] || problem "somebody still has something: $(cat "$given")"
want 0 nobodys vfioneer hook run release "$nic"
same 'the NIC that nobody had' "$before" "$(state "$nic")"

# Only what was taken from the host goes back to it.
want 0 bound vfioneer bind "$nic" --yes
want 0 bound-prepare vfioneer hook run prepare "$nic" --return
want 0 bound-release vfioneer hook run release "$nic"
same 'what was bound before stays' vfio-pci "$(driver "$nic")"

# As libvirt calls it: a VM with a device that was handed over, one with settings, and one of nobody's.
xml one "$nic" >"$out/one.xml"
want 0 libvirt-start vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
grep -q '"one"' "$given" || problem 'the VM has nothing'
want 0 libvirt-reconnect vfioneer hook run libvirt one reconnect begin - <"$out/one.xml"
want 0 libvirt-stopped vfioneer hook run libvirt one stopped end - <"$out/one.xml"
[ -e "$given" ] || problem 'stopped is not release'
want 0 libvirt-end vfioneer hook run libvirt one release end - <"$out/one.xml"
[ ! -e "$given" ] || problem 'the VM still has something'
want 0 unbound vfioneer unbind "$nic" --yes
same 'the NIC at home' "$before" "$(state "$nic")"
want 0 others vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
same "nobody's VM is left alone" "$before" "$(state "$nic")"
mkdir -p /etc/vfioneer/vms/libvirt
echo 'return = true' >/etc/vfioneer/vms/libvirt/one.toml
want 0 settings vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
same 'the NIC of a VM with settings' vfio-pci "$(driver "$nic")"
# Its XML is not needed to bring back what it has.
want 0 settings-garbage vfioneer hook run libvirt one release end - </lab/lib.sh
same 'the NIC of a VM with settings at the end' "$before" "$(state "$nic")"
echo 'reset = "always"' >/etc/vfioneer/vms/libvirt/one.toml
want 0 reset vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
want 0 reset-end vfioneer hook run libvirt one release end - <"$out/one.xml"
want 0 history vfioneer history --vm one
tail -n 1 "$out/history" | grep -q 'release .* reset ' || problem "no reset in the history: $(tail -n 1 "$out/history")"
want 0 unreset vfioneer unbind "$nic" --yes

# Somebody has it open: it neither goes nor comes back, and the next command knows.
echo 'return = true' >/etc/vfioneer/vms/libvirt/one.toml
want 0 open vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
sleep 1000 3<>"/dev/vfio/$(group "$nic")" &
holder=$!
want 3 open-end vfioneer hook run libvirt one release end - <"$out/one.xml"
same 'what is open stays' vfio-pci "$(driver "$nic")"
kill "$holder"
wait "$holder" || true
want 0 closed vfioneer hook run release "$nic"
same 'the NIC once it was closed' "$before" "$(state "$nic")"
[ ! -e "$given" ] || problem "somebody still has something: $(cat "$given")"

# A VM that runs is not released by hand, and one whose end was never told makes room for the next.
want 0 untold vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
sleep 1000 3<>"/dev/vfio/$(group "$nic")" &
holder=$!
want 3 runs vfioneer hook run release "$nic"
# A minute is given to a VM that starts; this host itself may be younger.
aged() { [ "$(cut -d. -f1 /proc/uptime)" -gt 61 ]; }
wait_until 120 aged || problem 'time stands still'
sed -i 's/"uptime": [0-9]*/"uptime": 0/' "$given"
want 3 runs-still vfioneer hook run prepare "$nic" --vm two
kill "$holder"
wait "$holder" || true
want 0 ended vfioneer hook run prepare "$nic" --vm two --return
grep -q 'VM one had ended' "$out/ended" || problem "it is not said who had it: $(cat "$out/ended")"
want 0 ended-release vfioneer hook run release "$nic"
same 'the NIC after both' "$before" "$(state "$nic")"

# What is pulled out while a VM has it needs no way back, and is given to nobody.
want 0 pulled vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
same 'it is pulled out' '' "$(ask device_del nic)"
wait_until 60 [ ! -e "$devices/$nic" ] || problem 'it was not pulled out'
want 0 pulled-release vfioneer hook run release "$nic"
grep -q 'not there any more' "$out/pulled-release" || problem "it is not said that it is gone: $(cat "$out/pulled-release")"
[ ! -e "$given" ] || problem "somebody still has what is gone: $(cat "$given")"
want 3 gone vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
grep -q 'there is no function' "$out/gone.err" || problem "it is not said that it is gone: $(cat "$out/gone.err")"

# Wrong input: said clearly, and no VM of somebody else's is kept from starting.
# shellcheck disable=SC2016 # that is the point
xml '$(touch /tmp/run); "a b"' "$virtio" >"$out/odd.xml"
# shellcheck disable=SC2016
want 0 odd vfioneer hook run libvirt '$(touch /tmp/run); "a
b"' prepare begin - <"$out/odd.xml"
[ ! -e /tmp/run ] || problem 'a name was run'
: >"$out/empty.xml"
echo '<!DOCTYPE d [<!ENTITY a "x">]><domain><name>&a;</name></domain>' >"$out/entity.xml"
for bad in empty entity; do
    want 0 "bad-$bad" vfioneer hook run libvirt two prepare begin - <"$out/$bad.xml"
    grep -q 'cannot be used' "$out/bad-$bad.err" || problem "$bad: nothing is said"
    want 3 "bad-$bad-settings" vfioneer hook run libvirt one prepare begin - <"$out/$bad.xml"
done
code=0
head -c 104857600 /dev/zero | vfioneer hook run libvirt two prepare begin - 2>"$out/large.err" || code=$?
same '100 MB' 0 "$code"
grep -q 'cannot be used' "$out/large.err" || problem 'large: nothing is said'
echo 'reste = "never"' >/etc/vfioneer/vms/libvirt/one.toml
want 3 settings-wrong vfioneer hook run libvirt one prepare begin - <"$out/one.xml"
grep -q 'line 1' "$out/settings-wrong.err" || problem "no line is named: $(cat "$out/settings-wrong.err")"
want 2 no-such vfioneer hook run prepare 7f:00.0
want 2 guard vfioneer hook run prepare "$virtio" --allow everything
