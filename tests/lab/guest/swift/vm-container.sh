# A container has the node of a GPU that stays with the host's driver. Another one, and one that asks for another GPU, does not.
. /lab/lib.sh
. /lab/vms.sh

# node CARD: the name of its node in /dev/dri.
node() {
    basename "$devices/$1"/drm/card*
}

# rendered CARD: the lines for a container that has its node, as vfioneer renders them.
rendered() {
    want 0 render vfioneer vm render --target lxc --vm with "$1" >&2
    sed -n '/^# Plain LXC/,$p' "$out/render"
}

# contain NAME [LINE…]: runs a container with these lines besides its own. What it says of the nodes is $out/NAME.
contain() {
    root=/tmp/containers/$1
    mkdir -p "$root/usr" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc"
    cp -a /bin /lib /lib64 "$root"
    cp /tmp/look.pl "$root"
    cat >"$root.conf" <<CONF
lxc.uts.name = $1
lxc.rootfs.path = dir:$root
lxc.init.cmd = /bin/sh -c "perl /look.pl >/tmp/seen 2>&1"
lxc.apparmor.profile = unconfined
lxc.net.0.type = empty
lxc.console.path = none
lxc.tty.max = 0
lxc.mount.auto = proc
lxc.mount.entry = /usr usr none ro,bind 0 0
lxc.cgroup2.devices.deny = a
lxc.cgroup2.devices.allow = c *:* m
lxc.cgroup2.devices.allow = c 1:3 rwm
lxc.cgroup2.devices.allow = c 1:9 rwm
$2
CONF
    want 0 "start-$1" lxc-start -F -n "$1" -f "$root.conf" -l info -o "$out/log-$1"
    mv "$root/tmp/seen" "$out/$1"
}

# Each node of the host: whether it is there, whether it can be opened, also by a node that the container makes itself, and the driver behind
# it: DRM_IOCTL_VERSION (Linux include/uapi/drm/drm.h).
cat >/tmp/look.pl <<'PERL'
for my $node (NODES) {
    my ($name, $number) = @$node;
    print "$name there\n" if -e "/dev/dri/$name";
    system("mknod", "/tmp/$name", "c", 226, $number) == 0 or die;
    for my $path ("/dev/dri/$name", "/tmp/$name") {
        next if !-e $path;
        if (!open(my $file, "+<", $path)) { print "$path refused: $!\n"; }
        else {
            my $driver = "\0" x 32;
            my $version = pack("lllx4QpQQQQ", 0, 0, 0, 32, $driver, 0, 0, 0, 0);
            ioctl($file, 0xc0406400, $version) or die $!;
            print "$path ", substr($driver, 0, (unpack("lllx4Q", $version))[3]), "\n";
        }
    }
}
PERL
# shellcheck disable=SC2154 # of the cell's cards
given=$(node "$gpu") other=$(node "$gpu2")
sed -i "s/NODES/[\"$given\", ${given#card}], [\"$other\", ${other#card}]/" /tmp/look.pl
mount -t cgroup2 cgroup2 /sys/fs/cgroup
before=$(state "$gpu" "$gpu2")
contain with "$(rendered "$gpu")"
same 'the container with the GPU' "$given there
/dev/dri/$given bochs-drm
/tmp/$given bochs-drm
/tmp/$other refused: Operation not permitted" "$(cat "$out/with")"
contain without ''
same 'the container without' "/tmp/$given refused: Operation not permitted
/tmp/$other refused: Operation not permitted" "$(cat "$out/without")"
same 'the GPUs' "$before" "$(state "$gpu" "$gpu2")"
same 'the driver' bochs-drm "$(driver "$gpu")"

# What a VM is to have is no container's.
want 0 bind vfioneer bind "$gpu2" --yes
want 3 both vfioneer vm render --target lxc "$gpu2"
want 0 unbind vfioneer unbind "$gpu2" --yes
same 'the GPUs at the end' "$before" "$(state "$gpu" "$gpu2")"
