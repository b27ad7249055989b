#!/bin/sh
# modprobe.sh -i NAME: loads a module of the constructed host, which registers its driver.
root=$VFIONEER_ROOT
[ "$1" = -i ] && shift || exit 2
echo "modprobe $1" >>"$root/writes"
[ -e "$root/modules/$1" ] || exit 1
mkdir -p "$root/sys/bus/pci/drivers/$1"
