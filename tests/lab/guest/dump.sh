#!/bin/sh
# Everything that sysfs says about each PCI function, one "ADDRESS KEY VALUE" per line, nothing interpreted.
for path in /sys/bus/pci/devices/*; do
    address=${path##*/}
    for key in vendor device subsystem_vendor subsystem_device class numa_node boot_vga reset_method; do
        if [ -r "$path/$key" ]; then
            read -r value <"$path/$key"
            echo "$address $key $value"
        fi
    done
    for key in driver iommu_group; do
        if [ -e "$path/$key" ]; then
            value=$(readlink "$path/$key")
            echo "$address $key ${value##*/}"
        fi
    done
    real=$(readlink -f "$path")
    real=${real%/*}
    echo "$address parent ${real##*/}"
done
