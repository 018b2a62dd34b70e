//! What a person names as a model: a path, a run and its step, or a repository of the hub.

use std::path::Path;

use anyhow::Context;
use speaker_verification::ModelDir;
use speaker_verification::models::hub::{HubId, HubOptions};
use speaker_verification::train::run_dir::resolve_model;

/// Endings of files: a misspelt path is not asked of the hub.
const FILES: [&str; 8] = ["bin", "ckpt", "model", "onnx", "pt", "pth", "safetensors", "toml"];

/// Loads the model that `place` names. What is on this machine comes first.
pub(crate) fn load(place: &Path) -> anyhow::Result<ModelDir> {
    let Some(id) = on_hub(place) else { return Ok(ModelDir::load(&resolve_model(place)?)?) };
    let model = ModelDir::from_hub(&id, &HubOptions::from_env()?)
        .with_context(|| format!("there is no file or folder {}, and on the hub", place.display()))?;
    tracing::debug!(commit = model.description().source.revision, "{} is in the hub's cache", id.repository());
    Ok(model)
}

/// The name on the hub that `place` is, if it is none of a file, a folder, or a step of a run.
fn on_hub(place: &Path) -> Option<HubId> {
    let text = place.to_str()?;
    let id: HubId = text.parse().ok()?;
    let is_run = text.rsplit_once('@').is_some_and(|(folder, _)| Path::new(folder).exists());
    let is_file = Path::new(id.name()).extension().is_some_and(|ending| FILES.iter().any(|file| ending == *file));
    (!place.exists() && !is_run && !is_file).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_is_not_asked_of_the_hub() {
        let here = env!("CARGO_MANIFEST_DIR");
        for place in [here, "models/pretrained.pt", "x/y.safetensors", "model", "./a/b", "../a/b", "a/b/c", "/a/b"] {
            assert_eq!(on_hub(Path::new(place)), None, "{place}");
        }
        // Tests run in the package's folder: `src/bin` is there, and `src/bin@7` would be a step of it.
        for place in ["src/bin", "src/bin@7"] {
            assert_eq!(on_hub(Path::new(place)), None, "{place}");
        }
        for place in ["speechbrain/spkrec-ecapa-voxceleb", "a/b@v1", "a/model.v2"] {
            assert_eq!(on_hub(Path::new(place)).map(|id| id.to_string()).as_deref(), Some(place));
        }
    }
}
