#!/bin/sh
# Runs inside the demonstration's host: each command with its answer, one file per command.
# Once: from the second boot on it may be at work.
[ -e /usr/local/bin/vfioneer ] || cp /lab/vfioneer /usr/local/bin/vfioneer
stage=$(cat /lab/stage)
out=/lab/out
number=$(find $out -name '*.answer' | wc -l)
failed=
gpu=02:00.0

# show STATUS COMMAND…: its answer; STATUS is what it must exit with.
show() {
    wanted=$1
    shift
    number=$((number + 1))
    file=$out/$number
    echo "running: $*"
    { echo "\$ $*"; "$@" 2>&1; } >"$file.part"
    code=$?
    [ "$code" = "$wanted" ] || {
        echo "exit code $code, not $wanted" >>"$file.part"
        failed=yes
    }
    mv "$file.part" "$file.answer"
}

# problem TEXT…: what is wrong.
problem() {
    echo "problem: $*"
    failed=yes
}

# wait_for SECONDS COMMAND…: runs it until it is true.
wait_for() {
    left=$1
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 1
    done
}

# Whether the unit that goes on after the reboot has ended.
resumed() {
    [ "$(systemctl show -P ActiveState vfioneer-setup.service)" = inactive ]
}

# What the kernel itself says of the twins.
drivers() {
    for twin in 02:00.0 04:00.0; do
        echo "$twin: $(basename "$(readlink /sys/bus/pci/devices/0000:$twin/driver)")"
    done
}

# The host has libvirt and QEMU on a disk of their own, from each boot on; what is written for them is the host's.
hypervisor() {
    cat >/usr/local/sbin/hypervisor <<'END'
#!/bin/sh
set -e
mount -o ro /dev/disk/by-id/virtio-hypervisor /opt
# Not /usr itself: initramfs-tools looks for its disk.
for dir in bin lib libexec sbin share; do
    mount -t overlay overlay -o "lowerdir=/usr/$dir:/opt/usr/$dir" "/usr/$dir"
done
ldconfig
exec libvirtd -d
END
    chmod 755 /usr/local/sbin/hypervisor
    cat >/etc/systemd/system/libvirtd.service <<'END'
[Service]
Type=forking
ExecStart=/usr/local/sbin/hypervisor
[Install]
WantedBy=multi-user.target
END
    mount -o ro /dev/disk/by-id/virtio-hypervisor /opt
    cp -a /opt/etc/libvirt /opt/etc/passwd /opt/etc/group /etc/
    cp -a /opt/var/lib/libvirt /var/lib/
    umount /opt
    systemctl enable --now libvirtd.service
    wait_for 60 virsh -q list || problem 'libvirtd does not answer'
    # A VM as its owner has it, without the GPU.
    cat >/tmp/desktop.xml <<'END'
<domain type='qemu'>
  <name>desktop</name>
  <memory unit='MiB'>256</memory>
  <os firmware='efi'>
    <type arch='x86_64' machine='q35'>hvm</type>
    <firmware><feature enabled='no' name='secure-boot'/></firmware>
  </os>
  <features><acpi/></features>
  <devices>
    <controller type='usb' model='none'/>
    <video><model type='none'/></video>
    <memballoon model='none'/>
  </devices>
</domain>
END
    virsh -q define /tmp/desktop.xml
}

setup() {
    hypervisor
    udevadm settle --timeout=120
    show 0 vfioneer
    show 1 vfioneer check $gpu
    # The machine ends with this.
    : >"$out/setup"
    show 10 vfioneer setup $gpu --vm desktop --reboot --yes
    sleep 60
    problem 'the host was not rebooted'
}

vm() {
    wait_for 120 [ ! -e /var/lib/vfioneer/setup.json ] || problem 'nothing went on after the reboot'
    wait_for 60 resumed || problem 'it does not come to its end'
    show 0 journalctl -q -b -o cat -u vfioneer-setup.service
    show 0 drivers
    show 0 vfioneer vm show desktop
    # Pictures are taken from outside.
    : >"$out/before"
    wait_for 60 [ -e "$out/ready" ] || problem 'nobody looks at the GPU'
    show 0 virsh start desktop
    : >"$out/screen"
    wait_for 400 [ -e "$out/seen" ] || problem 'there is no picture on the GPU'
    show 0 virsh destroy desktop
    show 0 vfioneer rollback --yes
    show 10 vfioneer rollback --yes
    : >"$out/vm"
}

back() {
    udevadm settle --timeout=120
    show 0 drivers
    show 0 vfioneer history
    : >"$out/back"
}

export COLUMNS=80
$stage
[ -z "$failed" ] || : >"$out/failed"
