#!/bin/sh
# kernel.sh FILE TEXT: what Linux does when TEXT was written to FILE of a constructed sysfs made of plain files.
# A function's file "native" names the built-in driver that matches it; "refused" names drivers whose probe fails there. Of a physical
# function, "of-virtual" names that of its virtual ones, and "most" is how many its driver makes.
root=$VFIONEER_ROOT
echo "${1#"$root"} $2" >>"$root/writes"
bind() {
    [ -d "$root/sys/bus/pci/drivers/$2" ] || return 1
    case " $(cat "$1/refused" 2>/dev/null) " in *" $2 "*) return 1 ;; esac
    ln -sfn "$root/sys/bus/pci/drivers/$2" "$1/driver"
}
probe() {
    read -r override <"$1/driver_override"
    case $override in
    '' | '(null)')
        [ ! -e "$1/physfn" ] || [ "$(cat "$1/physfn/sriov_drivers_autoprobe")" = 1 ] || return 0
        read -r driver <"$1/native" && bind "$1" "$driver"
        ;;
    *) bind "$1" "$override" ;;
    esac
}
case $1 in
*/sriov_numvfs)
    pf=${1%/*}
    read -r most <"$pf/most" && [ "$2" -gt "$most" ] && echo "$most" >"$1"
    read -r count <"$1"
    while [ "$count" -gt 0 ]; do
        count=$((count - 1))
        name=0000:01:10.$count
        vf=$pf/../$name
        mkdir -p "$vf"
        ln -sfn "$pf" "$vf/physfn"
        ln -sfn "$vf" "$pf/virtfn$count"
        ln -sfn "$vf" "$root/sys/bus/pci/devices/$name"
        echo '(null)' >"$vf/driver_override"
        cp "$pf/of-virtual" "$vf/native"
        probe "$vf"
    done
    ;;
*/driver/unbind) rm "${1%/unbind}" ;;
*/drivers_probe)
    function=$root/sys/bus/pci/devices/$2
    [ ! -e "$function/driver" ] || exit 0
    probe "$function"
    ;;
esac 2>/dev/null
exit 0
