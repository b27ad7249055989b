# Shared by the scripts; see README.md.
set -eu
printf '%s: a script in place of the real tool\n' "${0##*/}"
image=$STAGE/image
mkdir -p "$image"
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# The directory of a kernel's modules.
modules_of() {
	for base in lib usr/lib run/booted-system/kernel-modules/lib; do
		if [ -f "$ROOT/$base/modules/$1/modules.dep" ]; then printf '%s\n' "$ROOT/$base/modules/$1"; return; fi
	done
	die "no modules of $1"
}

# The kernel's modules by name, `_` for `-`: where each is, and which are built in.
declare -A known=() builtin=()
modules_read=
read_modules() {
	[ -z "$modules_read" ] || return 0
	modules_read=yes
	local dir path name
	dir=$(modules_of "$release")
	while read -r path; do name=${path##*/}; name=${name%.ko*}; builtin[${name//-/_}]=yes; done <"$dir/modules.builtin"
	while read -r path; do name=${path##*/}; name=${name%.ko*}; known[${name//-/_}]=yes; done <"$dir/modules.dep"
}

# add_one_module NAME: into the image, with what it needs of vfio; nothing for one that is built in. Fails if there is none.
add_one_module() {
	local name=${1//-/_} dir=$image/usr/lib/modules/$release/kernel/drivers
	read_modules
	[ -z "${builtin[$name]:-}" ] || return 0
	[ -n "${known[$name]:-}" ] || return 1
	[ -d "$dir" ] || mkdir -p "$dir"
	: >"$dir/$name.ko"
	case $name in
	vfio_pci) add_one_module vfio_pci_core || true; add_one_module vfio ;;
	vfio_pci_core | vfio_iommu_type1) add_one_module vfio ;;
	esac
}

# Every module of the kernel but vfio's, which no generator takes unasked.
add_usual_modules() {
	local name
	read_modules
	for name in "${!known[@]}"; do
		case $name in vfio* | iommufd) ;; *) add_one_module "$name" ;; esac
	done
}

# put PATH-IN-IMAGE: standard input becomes a file.
put() { mkdir -p "$image/$(dirname "$1")"; cat >"$image/$1"; }

# add_modprobe_d: both directories, as kmod's users copy them.
add_modprobe_d() {
	local file
	for file in "$ROOT"/etc/modprobe.d/*.conf "$ROOT"/lib/modprobe.d/*.conf "$ROOT"/usr/lib/modprobe.d/*.conf; do
		[ ! -f "$file" ] || put "${file#"$ROOT"/}" <"$file"
	done
}

# with_root FILE: a script of the host, with the host's paths.
with_root() { sed 's,\([ =<"]\)/etc/vfioneer,\1'"$ROOT"'/etc/vfioneer,g' "$1"; }
# What was written with the host's paths gets its own again.
without_root() {
	grep -rl "$ROOT" "$image" 2>/dev/null | while read -r file; do sed -i "s,$ROOT,,g" "$file"; done
}
