//! What every source file owes: the head of its crate, a bearable length, no word that belongs elsewhere.

use std::path::{Path, PathBuf};

use super::{Member, read};

/// Lines of a file without its tests.
const LONGEST: usize = 500;
/// Tests longer than this live in a file of their own.
const LONGEST_TESTS: usize = 200;

pub(super) fn findings(root: &Path, members: &[Member]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for member in members {
        for path in rust_files(&member.folder)? {
            let text = read(&path)?;
            let at = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            found.extend(head(member, &path, &text).map(|what| format!("{at}: {what}")));
            found.extend(lengths(&path, &text).map(|what| format!("{at}: {what}")));
            found.extend(words(member, &path, &text).into_iter().map(|what| format!("{at}: {what}")));
        }
    }
    Ok(found)
}

fn head(member: &Member, path: &Path, text: &str) -> Option<String> {
    let is_root = ["lib.rs", "main.rs"].iter().any(|name| path.ends_with(name));
    // Tests beside their module are headed by it; a crate may be headed by its README.
    let is_headed = text.starts_with("//!") || text.starts_with("#![doc = include_str!");
    if !is_headed && !path.ends_with("tests.rs") {
        return Some("does not begin with a comment that says what it is for".into());
    }
    (is_root && member.name != "sv-kernels" && !text.contains("#![forbid(unsafe_code)]"))
        .then(|| "is a crate's head without #![forbid(unsafe_code)]".into())
}

fn lengths(path: &Path, text: &str) -> Option<String> {
    let total = text.lines().count();
    let is_tests = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    let code = text.split("#[cfg(test)]\nmod tests {").next().map_or(total, |code| code.lines().count());
    if !is_tests && code > LONGEST {
        return Some(format!("{code} lines without tests; at most {LONGEST}: it holds more than one thing"));
    }
    (total - code > LONGEST_TESTS)
        .then(|| format!("{} lines of tests; over {LONGEST_TESTS} they move to a file", total - code))
}

/// Words that a crate may not say: what it must not know.
fn words(member: &Member, path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_test =
        path.components().any(|part| ["tests", "examples", "benches"].iter().any(|name| part.as_os_str() == *name))
            || path.ends_with("tests.rs");
    let library = text.split("#[cfg(test)]").next().unwrap_or(text);
    if member.name == "sv-kernels" && !path.ends_with("ops.rs") && !path.to_string_lossy().contains("/ops/") && !is_test
    {
        found.extend(says(library, &["candle_core", "candle_nn"]));
    }
    let portable =
        member.name == "sv-metrics" || (member.name == "sv-audio" && !path.to_string_lossy().contains("/decode"));
    if portable && !is_test {
        found.extend(says(
            library,
            &["std::fs", "std::thread", "std::time", "std::net", "std::env", "File::", "rayon", "Instant"],
        ));
    }
    if member.name != "xtask" {
        found.extend(says(text, &["todo!(", "unimplemented!(", "#[ignore", "should_panic"]));
    }
    found
}

fn says(text: &str, words: &[&str]) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<&str> = code.collect();
    let said = words.iter().filter(|word| code.iter().any(|line| line.contains(**word)));
    said.map(|word| format!("says `{word}`, which it must not know")).collect()
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("fuzz") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
