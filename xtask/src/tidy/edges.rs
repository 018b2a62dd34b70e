//! Which crate may use which, and in which crates guests may live, as docs/ARCHITECTURE.md says.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use super::Member;

pub(super) fn findings(members: &[Member], page: &str) -> anyhow::Result<Vec<String>> {
    let allowed = block(page, "edges", "->")?;
    let guests = block(page, "guests", ":")?;
    let ours: BTreeSet<&str> = members.iter().filter(|m| m.is_published()).map(|m| m.name.as_str()).collect();
    let mut found = Vec::new();
    for name in allowed.keys().filter(|name| !ours.contains(name.as_str())) {
        found.push(format!("docs/ARCHITECTURE.md: {name} is in the edges but not in crates/"));
    }
    for member in members {
        let Some(edges) = allowed.get(&member.name) else {
            if member.is_published() {
                found.push(format!("docs/ARCHITECTURE.md: {} is not in the edges", member.name));
            }
            continue;
        };
        for (used, _) in member.dependencies("dependencies") {
            if ours.contains(used) && !edges.contains(used) {
                found.push(format!("{}: uses {used}, which docs/ARCHITECTURE.md does not allow", member.name));
            }
            if guests.get(used).is_some_and(|rooms| !rooms.contains(&member.name)) {
                found.push(format!("{}: uses {used}, whose rooms are {:?}", member.name, guests[used]));
            }
        }
        for used in edges {
            if !member.dependencies("dependencies").contains_key(used.as_str()) {
                found.push(format!("docs/ARCHITECTURE.md: {} -> {used} is drawn but not used", member.name));
            }
        }
    }
    Ok(found)
}

/// The lines of the fenced block ```` ```NAME ````: a key, the separator, words.
fn block(page: &str, name: &str, separator: &str) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let fence = format!("```{name}\n");
    let body = page.split_once(&fence).and_then(|(_, rest)| rest.split_once("```")).map(|(body, _)| body);
    let body = body.with_context(|| format!("docs/ARCHITECTURE.md has no block ```{name}"))?;
    body.lines()
        .map(|line| {
            let (key, words) = line.split_once(separator).with_context(|| format!("no `{separator}` in: {line}"))?;
            Ok((key.trim().to_owned(), words.split_whitespace().map(str::to_owned).collect()))
        })
        .collect()
}
