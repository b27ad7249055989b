# vfioneer: brings the boot partitions of proxmox-boot-tool up to date.
# The tool copies kernels and images in place. So that every moment boots, each partition first gets an entry with
# copies of the running kernel as it is now, made the default. It goes away once all of the result was read back.
# Arguments: words that every entry must have then. Runs in a mount namespace of its own. Run again, it finishes
# what was interrupted.

root=${VFIONEER_TEST_ROOT:-}
kernel=$root/etc/kernel
efi=$root/sys/firmware/efi
work=$root/var/tmp/vfioneer-esps
fence=proxmox-9999-vfioneer

fail() {
	printf 'vfioneer: %s\n' "$*" >&2
	exit 1
}
tidy() {
	[ ! -e "$work/kernel" ] || umount "$kernel" 2>/dev/null
	for uuid in $uuids; do
		umount "$work/$uuid" 2>/dev/null
		rmdir "$work/$uuid" 2>/dev/null
	done
	rm -rf "$work/kernel"
	rmdir "$work" 2>/dev/null
}

# GRUB wins where both are there, as in proxmox-boot-tool.
is_grub() { [ ! -d "$efi" ] || [ -f "$esp/EFI/proxmox/grubx64.efi" ]; }

# copy FROM TO: on disk, and the same.
copy() { cp "$1" "$2" && sync "$2" && cmp -s "$1" "$2"; }

# put FILE: standard input becomes the file, on disk.
put() { cat >"$1.vfioneer" && sync "$1.vfioneer" && mv "$1.vfioneer" "$1" && sync "$1" "${1%/*}"; }

# copies DIRECTORY KERNEL IMAGE: what boots meanwhile.
copies() {
	need=$(($(cat "$2" "$3" | wc -c) / 1024 + 1024))
	free=$(df -Pk "$esp" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$need" ] || fail "$uuid has $free KiB free, and $need KiB are needed for a while: remove an old kernel"
	rm -rf "$1"
	mkdir -p "$1"
	copy "$2" "$1/vmlinuz" && copy "$3" "$1/initrd.img" && sync "$1" || fail "$uuid: the kernel could not be copied"
}

# The running kernel first, then those on the partition, the newest first.
releases() {
	uname -r
	ls -1 "$1" | sed -n 's/^vmlinuz-\([0-9]\)/\1/p;/^[0-9]/p' | sort -rV
}

up_systemd_boot() {
	conf=$esp/loader/loader.conf
	entries=$esp/loader/entries
	[ -s "$conf" ] || fail "$uuid has no loader.conf"
	if [ ! -f "$entries/$fence.conf" ]; then
		for release in $(releases "$esp/EFI/proxmox") none; do
			dir=$esp/EFI/proxmox/$release
			[ -s "$dir/vmlinuz-$release" ] && [ -s "$dir/initrd.img-$release" ] && [ -s "$entries/proxmox-$release.conf" ] && break
		done
		[ "$release" != none ] || fail "$uuid: no kernel has all of its files"
		copies "$esp/EFI/vfioneer" "$dir/vmlinuz-$release" "$dir/initrd.img-$release"
		# A sort-key puts an entry in front of those that have none; older versions of systemd-boot go by the name.
		{
			sed -n 's/^default/# default/p' "$conf"
			printf 'title    As before the change (vfioneer)\nsort-key 0\nversion  %s\n' "$release"
			sed -n '/^options/p' "$entries/proxmox-$release.conf"
			printf 'linux    /EFI/vfioneer/vmlinuz\ninitrd   /EFI/vfioneer/initrd.img\n'
		} | put "$entries/$fence.conf"
	fi
	# Should loader.conf be lost on the way, the first entry boots: this one.
	{ sed "s/^default.*/default $fence.conf/" "$conf"; grep -q ^default "$conf" || echo "default $fence.conf"; } | put "$conf"
}

down_systemd_boot() {
	# The default as it was, in its place.
	default=$(sed -n 's/^# \(default.*\)/\1/p' "$entries/$fence.conf")
	sed "s/^default.*/${default:-default proxmox-*}/" "$conf" | put "$conf"
	rm -f "$entries/$fence.conf"
	sync "$entries"
	rm -rf "$esp/EFI/vfioneer"
}

check_systemd_boot() {
	for dir in "$esp"/EFI/proxmox/*/; do
		release=${dir%/}
		release=${release##*/}
		check "$release" "${dir}vmlinuz-$release" "${dir}initrd.img-$release" \
			"$(sed -n 's/^options[[:space:]]*//p' "$esp/loader/entries/proxmox-$release.conf")" "$@"
	done
}

up_grub() {
	custom=$esp/grub/custom.cfg
	[ -f "$custom" ] && grep -q vfioneer-before "$custom" && return
	[ ! -e "$custom" ] || fail "$uuid has a grub/custom.cfg of its own: move it away for a while"
	grep -q custom.cfg "$esp/grub/grub.cfg" || fail "$uuid: grub.cfg does not read custom.cfg: /etc/grub.d/41_custom is needed"
	for release in $(releases "$esp") none; do
		words=$(words_of "$release")
		[ -s "$esp/vmlinuz-$release" ] && [ -s "$esp/initrd.img-$release" ] && [ -n "$words" ] && break
	done
	[ "$release" != none ] || fail "$uuid: no kernel has all of its files"
	copies "$esp/vfioneer" "$esp/vmlinuz-$release" "$esp/initrd.img-$release"
	put "$custom" <<-END
		set default=vfioneer-before
		menuentry 'As before the change (vfioneer)' --id vfioneer-before {
			search --no-floppy --fs-uuid --set=root $uuid
			linux /vfioneer/vmlinuz $words
			initrd /vfioneer/initrd.img
		}
	END
}

# The words of a kernel's first entry.
words_of() {
	sed -n "s,^[[:space:]]*linux[[:space:]]*/vmlinuz-$1[[:space:]]\(.*\),\1,p" "$esp/grub/grub.cfg" | sed 1q
}

down_grub() {
	rm -f "$esp/grub/custom.cfg"
	sync "$esp/grub"
	rm -rf "$esp/vfioneer"
}

check_grub() {
	for file in "$esp"/vmlinuz-*; do
		release=${file##*/vmlinuz-}
		check "$release" "$file" "$esp/initrd.img-$release" "$(words_of "$release")" "$@"
	done
}

# check RELEASE KERNEL IMAGE ENTRY WORD…: are they as in /boot, and does the entry have the words?
check() {
	release=$1
	[ -f "$root/boot/vmlinuz-$release" ] && [ -f "$root/boot/initrd.img-$release" ] || return
	cmp -s "$root/boot/vmlinuz-$release" "$2" && cmp -s "$root/boot/initrd.img-$release" "$3" ||
		fail "$uuid: $release is not as in /boot"
	entry=" $4 "
	shift 4
	for word in root "$@"; do
		case $entry in
		*" $word "* | *" $word="*) ;;
		*) fail "$uuid: the entry of $release lacks $word" ;;
		esac
	done
	printf 'vfioneer: %s: %s is up to date\n' "$uuid" "$release"
}

tool=$(command -v proxmox-boot-tool || command -v pve-efiboot-tool) || fail 'proxmox-boot-tool is not there'
[ ! -e "$efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f" ] ||
	fail "the firmware names a default entry, so none can be put in front: bootctl set-default '' takes the name away"
uuids=
while read -r uuid _ || [ -n "$uuid" ]; do
	# proxmox-boot-tool leaves out what is not connected, too.
	[ -z "$uuid" ] || [ ! -e "$root/dev/disk/by-uuid/$uuid" ] || uuids="$uuids $uuid"
done <"$kernel/proxmox-boot-uuids"
[ -n "$uuids" ] || fail 'no boot partition of proxmox-boot-tool is connected'
trap tidy EXIT
grub=
for uuid in $uuids; do
	esp=$work/$uuid
	mkdir -p "$esp" && mount "$root/dev/disk/by-uuid/$uuid" "$esp" || fail "$uuid cannot be mounted"
	if is_grub; then grub=yes; fi
done
for uuid in $uuids; do
	esp=$work/$uuid
	if is_grub; then up_grub; else up_systemd_boot; fi || fail "$uuid: no entry could be put in front"
done
sync
if [ -z "$grub" ]; then
	# The tool writes the default at its end, before it is all on disk. To this process and its children, the next boot is
	# pinned to the entry in front. A run that was killed may have left its copy, in which another would be nested.
	[ ! -e "$work/kernel" ] || umount "$kernel" 2>/dev/null
	rm -rf "$work/kernel"
	cp -a "$kernel" "$work/kernel" && printf '9999-vfioneer\n' >"$work/kernel/next-boot-pin" &&
		mount --bind "$work/kernel" "$kernel" || fail "$kernel cannot be covered"
fi
"$tool" refresh || fail 'proxmox-boot-tool refresh failed'
sync
for uuid in $uuids; do
	esp=$work/$uuid
	if is_grub; then check_grub "$@"; else check_systemd_boot "$@"; fi
done
for uuid in $uuids; do
	esp=$work/$uuid conf=$work/$uuid/loader/loader.conf entries=$work/$uuid/loader/entries
	if is_grub; then down_grub; else down_systemd_boot; fi
done
sync
