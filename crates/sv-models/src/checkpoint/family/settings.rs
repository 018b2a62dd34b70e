//! What a foreign YAML may say beside the tensors: each key is compared with what the tensors and the family's table say.

use std::path::{Path, PathBuf};

use crate::ModelError;
use crate::checkpoint::yaml::{self, Yaml};
use crate::model_dir::read_text;

/// A YAML file, read.
pub(super) struct Settings {
    path: PathBuf,
    root: Yaml,
}

/// What a key may be.
#[derive(Debug, Clone)]
pub(super) enum Allowed {
    /// This whole number, or number.
    Number(f64),
    /// These whole numbers.
    Numbers(Vec<usize>),
    /// This text.
    Text(&'static str),
    /// True or false.
    Flag(bool),
    /// Nothing.
    Null,
    /// A class of this name, without arguments.
    Class(&'static str),
    /// Whatever it is: nothing that an embedding depends on.
    Anything,
}

/// A key and the values that it may have; left out it has the first of them.
pub(super) type Rule = (&'static str, Vec<Allowed>);

impl Settings {
    pub(super) fn read(path: &Path) -> Result<Self, ModelError> {
        let text = read_text(path, yaml::LARGEST)?;
        let root = Yaml::parse(&text).map_err(|problem| ModelError::Yaml { path: path.into(), problem })?;
        Ok(Self { path: path.into(), root })
    }

    /// The value of an outermost key.
    pub(super) fn get(&self, key: &str) -> Option<&Yaml> {
        self.root.get(key)
    }

    /// The outermost keys and their values.
    pub(super) fn entries(&self) -> &[(String, Yaml)] {
        self.root.entries()
    }

    /// Refuses a key of `section` that is not among the rules, or has another value than they allow. `name` is the section's, for
    /// errors.
    pub(super) fn check(&self, name: &str, section: &Yaml, rules: &[Rule]) -> Result<(), ModelError> {
        for (key, value) in section.entries() {
            let full = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let Some((_, allowed)) = rules.iter().find(|(rule, _)| rule == key) else {
                return Err(self.refused(full, value, "left out: it is not known what it changes".into()));
            };
            // A reference is named by where it leads.
            let (full, value) = match self.followed(value) {
                Some((Some(target), found)) => (format!("{full} (by {target})"), found),
                Some((None, found)) => (full, found),
                None => return Err(self.refused(full, value, "a reference to a key of this file".into())),
            };
            if !allowed.iter().any(|allowed| allowed.allows(value)) {
                let need: Vec<String> = allowed.iter().map(Allowed::shown).collect();
                return Err(self.refused(full, value, need.join(" or ")));
            }
        }
        Ok(())
    }

    /// A refusal of the value of a key.
    pub(super) fn refused(&self, key: String, value: &Yaml, need: String) -> ModelError {
        ModelError::Setting { path: self.path.clone(), key, got: shown(value), need }
    }

    /// Where a chain of references `<key>` ends: the last key, if there is a reference at all, and the value.
    fn followed<'a>(&'a self, mut value: &'a Yaml) -> Option<(Option<&'a str>, &'a Yaml)> {
        let mut last = None;
        // No file has more links than that; a ring has no end.
        for _ in 0..8 {
            let Yaml::Reference(text) = value else { return Some((last, value)) };
            let key = text.strip_prefix('<')?.strip_suffix('>')?;
            last = Some(key);
            value = self.root.get(key)?;
        }
        None
    }
}

impl Allowed {
    pub(super) fn size(value: usize) -> Vec<Self> {
        vec![Self::Number(value as f64)]
    }

    fn allows(&self, value: &Yaml) -> bool {
        match self {
            Self::Number(number) => value.number() == Some(*number),
            Self::Numbers(numbers) => match value {
                Yaml::List(items) => {
                    items.len() == numbers.len()
                        && items.iter().zip(numbers).all(|(item, &number)| item.number() == Some(number as f64))
                }
                _ => false,
            },
            Self::Text(text) => value.text() == Some(text),
            Self::Flag(flag) => value.flag() == Some(*flag),
            Self::Null => value.is_null(),
            Self::Class(class) => {
                matches!(value, Yaml::Class { name, arguments } if name == class && arguments.is_null())
            }
            Self::Anything => true,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Numbers(numbers) => format!("{numbers:?}"),
            Self::Text(text) => format!("{text:?}"),
            Self::Flag(flag) => if *flag { "True" } else { "False" }.into(),
            Self::Null => "null".into(),
            Self::Class(class) => format!("the class {class}"),
            Self::Anything => "anything".into(),
        }
    }
}

/// A value as a message may show it.
fn shown(value: &Yaml) -> String {
    let text = match value {
        Yaml::Scalar { text, .. } => text.clone(),
        Yaml::List(items) => format!("[{}]", items.iter().take(16).map(shown).collect::<Vec<_>>().join(", ")),
        Yaml::Map(entries) => format!("a map of {} keys", entries.len()),
        Yaml::Class { name, .. } => format!("the class {name}"),
        Yaml::Reference(text) => format!("!ref {text}"),
    };
    crate::checkpoint::problem::shown(&text)
}
