//! Text or bytes to types and back. Pure: nothing here reads a file.

pub mod acpi;
pub mod address;
pub mod bls;
pub mod cmdline;
pub mod config_space;
pub mod cpuinfo;
pub mod efi;
pub mod grub_cfg;
pub mod grub_default;
pub mod interrupts;
pub mod kconfig;
pub mod libvirt_xml;
pub mod lines;
pub mod modlist;
pub mod modprobe;
pub mod modules_alias;
pub mod mountinfo;
pub mod os_release;
pub mod oslo_conf;
pub mod paste;
pub mod pci_ids;
pub mod pe;
pub mod proxmox_conf;
pub mod qemu_args;
pub mod route;
pub mod scrub;
pub mod shell;
pub mod shell_vars;
pub mod sysfs;
pub mod version;
pub mod vfio_ids;

#[cfg(test)]
mod never_panics;
