#!/bin/sh
# kernel.sh SUITE: prints the path of the package of another kernel of that Debian release (the real-time one, which has
# every driver that the lab's hosts need), unpacked and packed again without compression, for the emulated processor's sake.
set -eu
suite=$1
here=$(cd "$(dirname "$0")" && pwd)
what="kernel $suite" name=kernel-$suite kind=deb
keyed='kernel.sh image/cache.sh image/mirror.sh'
. "$here/image/cache.sh"
. "$here/image/mirror.sh"
say "from $mirror"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/package"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
apt() {
    apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/lists" \
        -o Dir::Cache="$work/cache" -o Dir::State::status=/dev/null -o APT::Architecture=amd64 "$@"
}
quietly apt update
package=$(apt -s -o APT::Install-Recommends=no install linux-image-rt-amd64 | sed -n 's/^Inst \(linux-image-[0-9][^ ]*\) .*/\1/p')
cd "$work/package"
quietly apt download "$package"
mv ./*.deb "$work/real.deb"
[ "$(id -u)" = 0 ] && as= || as=fakeroot
# shellcheck disable=SC2016
quietly $as sh -c 'dpkg-deb -R "$1/real.deb" "$1/tree" && dpkg-deb -b -Znone "$1/tree" "$1/new.deb"' sh "$work"
mv "$work/new.deb" "$made"
say 'made'
echo "$made"
