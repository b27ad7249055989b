#!/bin/sh
# kernel.sh FILE TEXT: what Linux does when TEXT was written to FILE of a constructed sysfs made of plain files.
# A function's file "native" names the built-in driver that matches it; "refused" names drivers whose probe fails there.
root=$VFIONEER_ROOT
echo "${1#"$root"} $2" >>"$root/writes"
bind() {
    [ -d "$root/sys/bus/pci/drivers/$2" ] || return 1
    case " $(cat "$1/refused" 2>/dev/null) " in *" $2 "*) return 1 ;; esac
    ln -sfn "$root/sys/bus/pci/drivers/$2" "$1/driver"
}
case $1 in
*/driver/unbind) rm "${1%/unbind}" ;;
*/drivers_probe)
    function=$root/sys/bus/pci/devices/$2
    [ ! -e "$function/driver" ] || exit 0
    read -r override <"$function/driver_override"
    case $override in
    '' | '(null)') read -r driver <"$function/native" && bind "$function" "$driver" ;;
    *) bind "$function" "$override" ;;
    esac
    ;;
esac 2>/dev/null
exit 0
