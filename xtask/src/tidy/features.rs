//! Features: the table in each crate's README against its manifest, and every feature alone, none and all by cargo.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::{Member, read};

/// These pass through to candle and need hardware or libraries that a fresh machine lacks.
const NOT_HERE: [&str; 5] = ["cuda", "cudnn", "metal", "mkl", "accelerate"];

/// Every feature but `default` must have a row `| `name` | ...` in its crate's README, and every row a feature.
pub(super) fn table_findings(members: &[Member]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for member in members.iter().filter(|member| member.is_published()) {
        let names = names(member);
        let readme = read(&member.folder.join("README.md"))?;
        let section = readme.split_once("\n## Features").map_or("", |(_, rest)| rest);
        let section = section.split("\n## ").next().unwrap_or("");
        let rows: BTreeSet<&str> =
            section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        for name in names.iter().filter(|name| !rows.contains(name.as_str())) {
            found.push(format!("{}/README.md: no row for the feature `{name}` under ## Features", member.name));
        }
        for name in rows.iter().filter(|row| !names.contains(**row)) {
            found.push(format!("{}/README.md: a row for `{name}`, which is no feature", member.name));
        }
    }
    Ok(found)
}

fn names(member: &Member) -> BTreeSet<String> {
    let table = member.manifest.get("features").and_then(toml::Value::as_table);
    table.into_iter().flat_map(|table| table.keys()).filter(|name| *name != "default").cloned().collect()
}

/// `cargo check` of each published crate: no feature, the default ones, each alone, all that can be built here.
pub(crate) fn check_each(root: &Path) -> anyhow::Result<()> {
    for member in super::members(root)?.iter().filter(|member| member.is_published()) {
        let mut names = names(member);
        names.retain(|name| !NOT_HERE.contains(&name.as_str()));
        check(root, &member.name, &["--no-default-features"])?;
        check(root, &member.name, &[])?;
        for name in &names {
            check(root, &member.name, &["--no-default-features", "--features", name])?;
        }
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        check(root, &member.name, &["--features", &all.join(",")])?;
    }
    Ok(())
}

fn check(root: &Path, package: &str, features: &[&str]) -> anyhow::Result<()> {
    println!("check {package} {}", features.join(" "));
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).args(["check", "--locked", "--quiet", "--package", package]).args(features);
    let status = command.status().context("cargo does not start")?;
    ensure!(status.success(), "cargo check --package {package} {} fails", features.join(" "));
    Ok(())
}
