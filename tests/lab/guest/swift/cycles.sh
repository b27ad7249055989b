# One of each kind goes to vfio and back, again and again: driver, override, group and power are those of before each time.
. /lab/lib.sh
rounds=200

all=
for kind in nic gpu audio usb virtio nvme; do
    eval "address=\${$kind:-}"
    # snd_hda_intel takes 32 cards, and loses count of those on which it finds no codec, as behind QEMU's AMD IOMMU.
    [ "$kind" != audio ] || set -- "$devices/$address"/hdaudio*
    if [ "$kind" = audio ] && [ ! -e "$1" ]; then continue; fi
    [ ! -e "$devices/${address:-none}" ] || all="$all $address"
done
# shellcheck disable=SC2086 # words
before=$(state $all)
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    # shellcheck disable=SC2086 # words
    want 0 bind vfioneer bind $all --yes
    for address in $all; do
        same "$address in round $round" vfio-pci "$(driver "$address")"
    done
    # shellcheck disable=SC2086 # words
    want 0 unbind vfioneer unbind $all --yes
    # shellcheck disable=SC2086 # words
    same "round $round" "$before" "$(state $all)"
done
echo "$round rounds of$all" >"$out/rounds"
