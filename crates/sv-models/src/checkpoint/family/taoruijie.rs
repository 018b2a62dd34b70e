//! TaoRuijie's single file: the state dict of encoder and loss together.

use std::borrow::Cow;

use super::Network;
use crate::ModelError;
use crate::checkpoint::StateDict;

const ENCODER: &str = "speaker_encoder.";
/// The loss's rows, one a training speaker.
const LOSS: &str = "speaker_loss.weight";
/// Constants of its front end, which is a preset of ours.
const FRONT_END: [&str; 3] =
    ["torchfbank.0.flipped_filter", "torchfbank.1.spectrogram.window", "torchfbank.1.mel_scale.fb"];

/// Reads the encoder; the loss is left out, any other tensor is an error.
pub(super) fn read(state: &StateDict) -> Result<Network, ModelError> {
    if let Some(name) = state.names().find(|name| !name.starts_with(ENCODER) && *name != LOSS) {
        return Err(ModelError::UnexpectedTensor { file: state.file().into(), tensor: name.into() });
    }
    super::ecapa::taoruijie(&state.under(ENCODER))
}

/// Whether a tensor of the encoder is a constant of the front end.
pub(super) fn is_front_end(name: &str) -> bool {
    FRONT_END.contains(&name)
}

/// The same tensors without the `module.` that training on several devices puts into names.
pub(super) fn without_module(state: &StateDict) -> Cow<'_, StateDict> {
    const MODULE: &str = "module.";
    let is_encoder = |name: &str| name.starts_with("module.speaker_") || name.starts_with("speaker_encoder.module.");
    if !state.names().any(is_encoder) {
        return Cow::Borrowed(state);
    }
    let renamed = state.iter().map(|(name, tensor)| (name.replace(MODULE, ""), tensor.clone()));
    Cow::Owned(StateDict::from_tensors(state.file(), renamed))
}
