//! Which files of a repository make a model: fixed names, one set for each system that is read.

use super::HubError;
use super::id::HubId;

/// The files of one kind of repository.
struct Layout {
    system: &'static str,
    /// The file that tells it from the others.
    marker: &'static str,
    needed: &'static [&'static str],
    optional: &'static [&'static str],
}

const LAYOUTS: [Layout; 3] = [
    Layout {
        system: "a model directory of ours",
        marker: "model.toml",
        needed: &["model.toml", "weights.safetensors"],
        optional: &["labels.txt"],
    },
    Layout {
        system: "a SpeechBrain directory",
        marker: "hyperparams.yaml",
        needed: &["hyperparams.yaml", "embedding_model.ckpt"],
        optional: &["classifier.ckpt", "label_encoder.txt", "mean_var_norm_emb.ckpt"],
    },
    Layout {
        system: "a WeSpeaker directory",
        marker: "avg_model.pt",
        needed: &["avg_model.pt", "config.yaml"],
        optional: &[],
    },
];

/// The files to fetch of a repository that has `names`.
pub(super) fn choose(id: &HubId, names: &[String]) -> Result<Vec<&'static str>, HubError> {
    let there = |file: &&&str| names.iter().any(|name| name == **file);
    let Some(layout) = LAYOUTS.iter().find(|layout| there(&&layout.marker)) else {
        let files = names.iter().take(5).cloned().collect();
        return Err(HubError::NotAModel { id: id.to_string(), files });
    };
    if let Some(missing) = layout.needed.iter().find(|file| !there(file)) {
        return Err(HubError::Incomplete { id: id.to_string(), system: layout.system, missing });
    }
    Ok(layout.needed.iter().chain(layout.optional.iter().filter(there)).copied().collect())
}

/// Refuses a name that would leave the snapshot's folder. Only names of the table are ever fetched; a repository that lists such a
/// one is hostile all the same.
pub(super) fn check_name(id: &HubId, name: &str) -> Result<(), HubError> {
    let leaves = name.split(['/', '\\']).any(|part| matches!(part, "" | "." | ".."));
    if leaves || name.contains(['\\', ':', '\0']) || name.chars().any(char::is_control) {
        return Err(HubError::FileName { id: id.to_string(), name: name.into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<Vec<&'static str>, HubError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        choose(&"a/b".parse().expect("a name"), &names)
    }

    #[test]
    fn each_system_has_its_files_and_no_others() {
        assert_eq!(
            chosen(&["README.md", "embedding_model.ckpt", "hyperparams.yaml", "label_encoder.txt", "example.wav"])
                .expect("SpeechBrain"),
            ["hyperparams.yaml", "embedding_model.ckpt", "label_encoder.txt"]
        );
        assert_eq!(
            chosen(&["config.yaml", "avg_model.pt", "model.onnx"]).expect("WeSpeaker"),
            ["avg_model.pt", "config.yaml"]
        );
        assert_eq!(
            chosen(&["weights.safetensors", "model.toml"]).expect("ours"),
            ["model.toml", "weights.safetensors"]
        );
    }

    #[test]
    fn other_repositories_are_refused_by_what_they_hold_or_lack() {
        let error = chosen(&["README.md", "model.onnx"]).expect_err("no model");
        assert!(error.to_string().contains("model.onnx"), "{error}");
        let error = chosen(&["hyperparams.yaml", "asr.ckpt"]).expect_err("incomplete");
        assert!(matches!(error, HubError::Incomplete { missing: "embedding_model.ckpt", .. }), "{error}");
        assert!(matches!(chosen(&[]), Err(HubError::NotAModel { .. })));
    }

    #[test]
    fn names_that_leave_the_folder_are_hostile() {
        let id = "a/b".parse().expect("a name");
        for name in ["../x", "a/../../x", "/etc/passwd", "a//b", "a\\b", "C:x", "", ".", "a\nb"] {
            assert!(matches!(check_name(&id, name), Err(HubError::FileName { .. })), "{name:?}");
        }
        for name in ["model.toml", "sub/folder/x.bin", ".gitattributes", "a..b"] {
            check_name(&id, name).expect(name);
        }
    }
}
