//! Proxmox VE's storages: `/etc/pve/storage.cfg`. Pure.
//!
//! Grammar: a line `type: id`, then indented `key value` lines (pve-common `PVE/SectionConfig.pm`, pve-storage `PVE/Storage/Plugin.pm`).

/// A storage that is a directory of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// `local`.
    pub id: String,
    /// Where it is.
    pub path: String,
    /// What it may hold: `iso`, `snippets`, …
    pub content: Vec<String>,
}

/// Every directory that is switched on and that this node has. Storages on the network are passed by: they may be gone when a VM is to end.
pub fn directories(text: &str, node: &str) -> Vec<Storage> {
    let mut found: Vec<Storage> = Vec::new();
    let mut inside = false;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if line.starts_with([' ', '\t']) {
            let Some(storage) = found.last_mut().filter(|_| inside) else { continue };
            match line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), "")) {
                ("path", path) => path.trim().clone_into(&mut storage.path),
                ("content", list) => storage.content = list.split(',').map(|one| one.trim().to_owned()).collect(),
                ("disable", _) => inside = false,
                ("nodes", list) if !list.split(',').any(|name| name.trim() == node) => inside = false,
                _ => {}
            }
            if !inside {
                found.pop();
            }
            continue;
        }
        let (kind, id) = line.split_once(':').unwrap_or((line, ""));
        inside = matches!(kind.trim(), "dir" | "btrfs");
        if inside {
            // What one without the line holds (pve-storage `PVE/Storage/DirPlugin.pm` `plugindata`).
            let content = ["images", "rootdir"].map(str::to_owned).to_vec();
            found.push(Storage { id: id.trim().to_owned(), path: String::new(), content });
        }
    }
    found.retain(|storage| storage.path.starts_with('/') && !storage.id.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_a_node() {
        let text = "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\nlvmthin: local-lvm\n\tthinpool data\n\
                    \tvgname pve\n\tcontent rootdir,images\n\ndir: off\n\tpath /mnt/off\n\tcontent snippets\n\tdisable\n\ndir: n2\n\tpath /mnt/n2\n\tnodes n2,n3\n\tcontent snippets\n\
                    nfs: nas\n\tpath /mnt/pve/nas\n\tserver 10.0.0.1\n\tcontent snippets\n\
                    btrfs: b\n\tpath /srv/b\n\tcontent images, snippets\n  odd\n";
        let content = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        assert_eq!(
            directories(text, "n1"),
            [
                Storage {
                    id: "local".into(),
                    path: "/var/lib/vz".into(),
                    content: content(&["iso", "vztmpl", "backup"])
                },
                Storage { id: "b".into(), path: "/srv/b".into(), content: content(&["images", "snippets"]) },
            ]
        );
        assert!(directories("", "").is_empty() && directories("\tpath /x\ndir\n\tpath /y\n", "").is_empty());
    }
}
