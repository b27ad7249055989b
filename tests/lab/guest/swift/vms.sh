# Sourced after lib.sh by the scripts of a host with libvirt and QEMU.
# shellcheck disable=SC2034 # for them
hooks=/etc/libvirt/hooks

# start_daemon: libvirt's daemon, when it answers.
start_daemon() {
    libvirtd -d >"$out/libvirtd" 2>&1 || problem "libvirtd: $(cat "$out/libvirtd")"
    wait_until 60 virsh -q list >"$out/list" 2>&1 || problem "libvirtd does not answer: $(cat "$out/list")"
}

# restart_daemon: its VMs run on meanwhile.
restart_daemon() {
    daemon=$(cat /run/libvirtd.pid)
    kill "$daemon"
    wait_until 60 [ ! -e "/proc/$daemon" ] || problem 'libvirtd does not end'
    start_daemon
}

# define NAME [ADDRESS MANAGED [ARGUMENT]]: a VM that finds nothing to boot, with that function, and that argument for its QEMU.
define() {
    {
        echo "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>$1</name>"
        echo "<memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>"
        echo "<devices><controller type='usb' model='none'/><memballoon model='none'/>"
        if [ -n "${2:-}" ]; then
            echo "<hostdev mode='subsystem' type='pci' managed='$3'><source>"
            echo "$2" | sed 's/\(.*\):\(.*\):\(.*\)\.\(.*\)/<address domain="0x\1" bus="0x\2" slot="0x\3" function="0x\4"\/>/'
            echo "</source><rom bar='off'/></hostdev>"
        fi
        echo '</devices>'
        [ -z "${4:-}" ] || echo "<qemu:commandline><qemu:arg value='$4'/></qemu:commandline>"
        echo '</domain>'
    } >/tmp/domain.xml
    want 0 define virsh -q define /tmp/domain.xml
}

# qemu_of NAME: the process id of a running VM; nothing for another.
qemu_of() {
    cat "/run/libvirt/qemu/$1.pid" 2>/dev/null || true
}

# off NAME: whether a VM has ended, and libvirt has done all that follows.
off() {
    [ "$(virsh -q domstate "$1")" = 'shut off' ]
}

# answers ADDRESS: whether its configuration space has its vendor's number.
answers() {
    vendor=$(attribute "$1" vendor)
    [ "$vendor" = "0x$(od -An -tx2 -N2 "$devices/$1/config" | tr -d ' ')" ]
}

# start_kvm: KVM, where this host's processor has what it needs: that of the AMD profile does.
start_kvm() {
    modprobe -d /opt kvm_amd
    [ -c /dev/kvm ] || problem 'there is no KVM'
}

# run_vm OPTION… ADDRESS: a small VM with that function, by the command that vfioneer renders, as it is; its console is $out/vm-console.
run_vm() {
    [ -c /dev/kvm ] || set -- --no-kvm "$@"
    want 0 vm-command vfioneer vm render --target qemu --memory 512 --cpus 1 "$@"
    mkdir -p /tmp/vm
    (cd /tmp/vm && exec sh "$out/vm-command") </dev/null >"$out/vm-console" 2>"$out/vm-qemu" &
    vm=$!
}

# end_vm: as it is, if it still runs.
end_vm() {
    pkill -P "$vm" || true
    wait "$vm" || true
}

# ended PROCESS: whether a child is gone.
ended() {
    ! kill -0 "$1" 2>/dev/null
}

# console_says TEXT: whether a VM's console has a line with it.
console_says() {
    grep -aqF "$1" "$out/vm-console" 2>/dev/null
}
