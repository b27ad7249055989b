#!/bin/sh
# Looks at these functions of
# {{device}}
# in a Linux guest, and changes nothing:
#
{{commented}}
#
# Exit code: 0 all is well, 1 something is not.
# SYS, PROC and ETC may name other folders than /sys, /proc and /etc.
SYS=${SYS:-/sys} PROC=${PROC:-/proc} ETC=${ETC:-/etc}
modules='{{modules}}'
bad=0
found=

say_bad() {
    echo "  ! $*"
    bad=1
}

# value FILE: the first line of a file; nothing if it cannot be read.
value() {
    line=
    [ ! -r "$1" ] || read -r line <"$1" || :
    echo "$line"
}

# interrupts FOLDER: what the function's interrupts are.
interrupts() {
    count=0
    for interrupt in "$1"/msi_irqs/*; do
        [ -e "$interrupt" ] || continue
        count=$((count + 1))
        kind=$(value "$interrupt")
    done
    line=$(value "$1/irq")
    if [ "$count" -gt 0 ]; then
        echo "message-signaled ($kind), $count of them"
    elif [ "${line:-0}" != 0 ]; then
        echo "by line, number $line"
    else
        echo none
    fi
}

# look VENDOR DEVICE SUBVENDOR SUBDEVICE NAME
look() {
    echo "$5 [$1:$2]"
    seen=
    for folder in "$SYS"/bus/pci/devices/*; do
        [ "$(value "$folder/vendor") $(value "$folder/device")" = "0x$1 0x$2" ] || continue
        [ "$(value "$folder/subsystem_vendor") $(value "$folder/subsystem_device")" = "0x$3 0x$4" ] || continue
        seen=1
        address=${folder##*/}
        found="$found $address"
        driver=
        [ ! -e "$folder/driver" ] || driver=$(basename "$(readlink "$folder/driver")")
        echo "  $address"
        case $driver in
        '')
            say_bad 'no driver has it'
            alias=$(value "$folder/modalias")
            takers=$(modprobe -R "$alias" 2>/dev/null | tr '\n' ' ')
            echo "    modules of this kernel that would take it: ${takers:-none}"
            ;;
        vfio-pci | pci-stub) say_bad "driver: $driver, which keeps it for a VM of this guest's own" ;;
        *) echo "    driver: $driver" ;;
        esac
        echo "    interrupts: $(interrupts "$folder")"
        if [ -d "$folder/drm" ]; then
            nodes=
            for node in "$folder"/drm/card* "$folder"/drm/render*; do
                [ ! -e "$node" ] || nodes="$nodes /dev/dri/${node##*/}"
            done
            echo "    nodes:$nodes"
        fi
    done
    [ -n "$seen" ] || say_bad 'not in this guest'
}

{{looks}}

echo 'What keeps drivers away'
kept=
cmdline=$(value "$PROC/cmdline")
for word in $cmdline; do
    case $word in
%% gpu
    nomodeset)
        kept=1
        say_bad 'on the command line: nomodeset'
        ;;
%%
    module_blacklist=* | modprobe.blacklist=* | vfio-pci.ids=* | pci-stub.ids=*)
        kept=1
        echo "  on the command line: $word"
        ;;
    esac
done
for file in "$ETC"/modprobe.d/*.conf; do
    [ -r "$file" ] || continue
    while read -r word module rest; do
        hit=
        case "$word $module" in
        'options vfio-pci' | 'options vfio_pci' | 'options pci-stub' | 'options pci_stub')
            case " $rest" in *' ids='*) hit=1 ;; esac
            ;;
        blacklist\ *)
            case " $modules " in *" $module "*) hit=1 ;; esac
            ;;
        esac
        [ -n "$hit" ] || continue
        kept=1
        echo "  $file: $word $module $rest"
    done <"$file"
done
[ -n "$kept" ] || echo '  nothing'

echo 'What the kernel said'
if messages=$(dmesg 2>/dev/null); then
    said=
    for address in $found; do
        lines=$(echo "$messages" | grep -F "$address" | tail -n 20)
        [ -z "$lines" ] || said="$said$lines
"
    done
%% gpu nvidia
    lines=$(echo "$messages" | grep -e NVRM -e nouveau | tail -n 20)
    [ -z "$lines" ] || said="$said$lines
"
%%
    echo "$said" | sed '/^$/d; s/^/  /'
    for text in 'failed with error' 'Key was rejected' 'RmInitAdapter failed' 'firmware: failed to load'; do
        ! echo "$messages" | grep -qF "$text" || echo "  look at: $text"
    done
else
    echo '  only root may ask'
fi
exit "$bad"
