//! The rules of the house, checked: edges between crates, rooms of guests, heads of crates, length of files, features.

mod edges;
pub(crate) mod features;
mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A member of the workspace: its folder and its manifest.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) manifest: toml::Table,
}

impl Member {
    pub(crate) fn is_published(&self) -> bool {
        self.folder.parent().is_some_and(|parent| parent.ends_with("crates"))
    }

    /// `[dependencies]` by name, as written.
    pub(crate) fn dependencies(&self, section: &str) -> BTreeMap<&str, &toml::Value> {
        let table = self.manifest.get(section).and_then(toml::Value::as_table);
        table.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
    }
}

/// All findings, one a line; empty if the tree is tidy.
pub(crate) fn findings(root: &Path) -> anyhow::Result<Vec<String>> {
    let members = members(root)?;
    let page = read(&root.join("docs/ARCHITECTURE.md"))?;
    let mut found = Vec::new();
    found.extend(edges::findings(&members, &page)?);
    found.extend(manifests(&members));
    found.extend(features::table_findings(&members)?);
    found.extend(sources::findings(root, &members)?);
    Ok(found)
}

fn manifests(members: &[Member]) -> Vec<String> {
    let mut found = Vec::new();
    for member in members {
        let at = format!("{}/Cargo.toml", member.name);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in member.dependencies(section) {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                let only_path =
                    section == "dev-dependencies" && value.get("path").is_some() && value.get("version").is_none();
                if !inherited && !only_path {
                    found.push(format!(
                        "{at}: {name} in [{section}] names its own version; write it in the workspace's manifest"
                    ));
                }
            }
        }
        let package = member.manifest.get("package").and_then(toml::Value::as_table);
        let has = |key: &str| package.is_some_and(|package| package.contains_key(key));
        let needed: &[&str] = if member.is_published() {
            &["description", "license", "keywords", "categories", "readme", "metadata"]
        } else {
            &["description", "license", "publish"]
        };
        found.extend(needed.iter().filter(|key| !has(key)).map(|key| format!("{at}: [package] has no `{key}`")));
        if member.manifest.get("lints").and_then(|lints| lints.get("workspace")).is_none() {
            found.push(format!("{at}: does not inherit [workspace.lints]"));
        }
    }
    found
}

/// The members, read off the folders that the workspace's manifest lists.
fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root.join("crates"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    folders.sort();
    folders.extend(["xtask", "tests", "benches"].map(|name| root.join(name)));
    folders
        .into_iter()
        .map(|folder| {
            let path = folder.join("Cargo.toml");
            let manifest: toml::Table = read(&path)?.parse().with_context(|| path.display().to_string())?;
            let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
            let name = name.with_context(|| format!("{}: no name", path.display()))?.to_owned();
            Ok(Member { name, folder, manifest })
        })
        .collect()
}

pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
