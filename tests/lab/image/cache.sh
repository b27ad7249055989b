# Sourced by image.sh and root.sh: a cache of files, named by what they are made of.
# In: $what (a line for people), $name (of the file), $here (this folder's parent), $keyed (files and folders below $here).
# Out: $cache, $made (the file's path), $work (a scratch folder), say and quietly. Ends the script if the file is there.
exec </dev/null
cache=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfioneer-lab}
# shellcheck disable=SC2086,SC2154 # a list; set by who sources this
key=$(cd "$here" && find $keyed -type f | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-16)
# shellcheck disable=SC2154
made=$cache/$name-$key.${kind:?}
mkdir -p "$cache"
exec 9>"$cache/$name.$kind.lock" && flock 9
[ ! -e "$made" ] || { touch "$made"; echo "$made"; exit 0; }
# Under the lock: what interrupted runs left, and what nobody used for a month.
rm -rf "$cache/$name.$kind".??????
find "$cache" -maxdepth 1 -name "$name-*" -mtime +30 -delete
PATH=$PATH:/usr/sbin:/sbin
started=$(date +%s)
work=$(mktemp -d "$cache/$name.$kind.XXXXXX")
trap 'rm -rf "$work"' EXIT && trap 'exit 1' HUP INT TERM
# shellcheck disable=SC2154
say() { echo "$what: $1 ($(($(date +%s) - started)) s)" >&2; }
quietly() { "$@" >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; say "failed: $1"; exit 1; }; }
