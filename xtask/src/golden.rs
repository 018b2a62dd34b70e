//! The values in `tests/golden`, made again by the scripts beside them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// Runs every `make*.py` under `tests/golden` in its own folder.
pub(crate) fn rebuild(root: &Path, python: &Path) -> anyhow::Result<()> {
    let mut folders = vec![root.join("tests/golden")];
    let mut scripts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if name.starts_with("make") && name.ends_with(".py") {
                scripts.push(path);
            }
        }
    }
    scripts.sort();
    for script in scripts {
        println!("{}", script.display());
        let folder = script.parent().context("a script lies in a folder")?;
        let status = Command::new(python).current_dir(folder).arg(&script).status();
        ensure!(status.with_context(|| python.display().to_string())?.success(), "{} failed", script.display());
    }
    Ok(())
}
