# Sourced: what every lab host has on its kernel's command line. An emulator keeps what it translated by address: where each
# process has addresses of its own, or each system call tables of its own, it translates the same code again and again.
# shellcheck disable=SC2034
words='console=ttyS0 norandmaps mitigations=off'
