//! initramfs generators: what goes into every image, and how each is built.
