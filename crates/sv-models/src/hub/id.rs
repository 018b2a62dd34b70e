//! What a model on the hub is called: `org/name`, or `org/name@revision`.

use std::fmt;
use std::str::FromStr;

use super::HubError;

/// A repository on the hub and one of its revisions.
///
/// ```
/// use sv_models::hub::HubId;
///
/// let id: HubId = "speechbrain/spkrec-ecapa-voxceleb@0f99f2d0ebe89ac095bcc5903c4dd8f72b367286".parse()?;
/// assert_eq!((id.organisation(), id.name()), ("speechbrain", "spkrec-ecapa-voxceleb"));
/// assert!("../secrets".parse::<HubId>().is_err());
/// # Ok::<(), sv_models::hub::HubError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubId {
    organisation: String,
    name: String,
    revision: Option<String>,
}

/// The branch that is taken where none is named.
const DEFAULT_REVISION: &str = "main";

/// The longest name the hub gives, and the longest revision that is taken.
const LONGEST: usize = 96;
const LONGEST_REVISION: usize = 200;

impl HubId {
    /// Who publishes it.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// Its name there.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Branch, tag or commit; `main` where none was named.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// The revision, if it is a commit and so never moves.
    pub(super) fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    /// `org/name` alone.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }
}

/// Whether `text` is a commit in full: 40 hexadecimal digits, lower case.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organisation, self.name)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

impl FromStr for HubId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let bad = |problem| HubError::BadName { text: text.into(), problem };
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        let (organisation, name) =
            repository.split_once('/').ok_or_else(|| bad("there is no `/` between organisation and name"))?;
        for part in [organisation, name] {
            check_name(part).map_err(bad)?;
        }
        if let Some(revision) = revision {
            check_revision(revision).map_err(bad)?;
        }
        Ok(Self { organisation: organisation.into(), name: name.into(), revision: revision.map(Into::into) })
    }
}

/// The hub's own rule. `--` would be ambiguous in the cache, where it stands for the slash.
fn check_name(part: &str) -> Result<(), &'static str> {
    if part.is_empty() || part.len() > LONGEST {
        return Err("organisation and name have 1 to 96 characters each");
    }
    if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err("organisation and name are made of letters, digits, `-`, `_` and `.`");
    }
    if part.contains("--") || part.contains("..") || part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
        return Err("no name begins or ends with `-` or `.`, or holds two of them in a row");
    }
    Ok(())
}

/// Git's rule for references, but for characters that nobody uses in one: it becomes a path in the cache.
fn check_revision(revision: &str) -> Result<(), &'static str> {
    if revision.is_empty() || revision.len() > LONGEST_REVISION {
        return Err("a revision has 1 to 200 characters");
    }
    if !revision.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'/')) {
        return Err("a revision is made of letters, digits, `-`, `_`, `.`, `+` and `/`");
    }
    if revision.split('/').any(|part| part.is_empty() || part.starts_with(['.', '-']) || part.ends_with('.'))
        || revision.contains("..")
    {
        return Err("no part of a revision is empty, begins with `.` or `-`, or holds `..`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_and_written_as_they_are() {
        for text in ["speechbrain/spkrec-ecapa-voxceleb", "a/b@main", "A.b_c/d-1@refs/pr/12", "a/b@v1.0+cpu"] {
            assert_eq!(text.parse::<HubId>().expect(text).to_string(), text);
        }
        let id: HubId = "a/b".parse().expect("a name");
        assert_eq!((id.revision(), id.commit()), ("main", None));
    }

    #[test]
    fn bad_names_are_refused_with_the_rule_they_break() {
        for (text, word) in [
            ("plain", "no `/`"),
            ("", "no `/`"),
            ("/b", "1 to 96"),
            ("a/", "1 to 96"),
            ("a/b/c", "letters"),
            ("../b", "begins"),
            ("a/..", "begins"),
            ("a/b--c", "in a row"),
            ("a/b c", "letters"),
            ("a/b\\c", "letters"),
            ("ä/b", "letters"),
            ("a/b@", "1 to 200"),
            ("a/b@../../x", "part of a revision"),
            ("a/b@/etc", "part of a revision"),
            ("a/b@x//y", "part of a revision"),
            ("a/b@x\ny", "a revision is made"),
            ("a/b@c@d", "a revision is made"),
        ] {
            let error = text.parse::<HubId>().expect_err(text).to_string();
            assert!(error.contains(word), "{text:?}: {error}");
        }
        assert!(format!("a/{}", "b".repeat(97)).parse::<HubId>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_leaves_the_cache(text in "[a-z./@-]{0,24}") {
            if let Ok(id) = text.parse::<HubId>() {
                prop_assert_eq!(id.to_string(), text);
                prop_assert!(id.revision().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
                prop_assert!(!id.repository().contains(".."));
            }
        }
    }
}
