//! What the target `model` calls, and `tests/models.rs` with it: the card of a model directory from arbitrary bytes.

use std::path::Path;

pub(crate) fn call(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((_, description)) = sv_models::parse_card(Path::new("model.toml"), text) {
        // What parses is checked before anything is built of it, and only then planned: sizes must be bounded by now.
        if description.encoder.validate().is_ok() && description.front_end.validate().is_ok() {
            let tensors: usize = description.encoder.tensors().len();
            // An ECAPA-TDNN of 16 blocks with 63 pieces each, six tensors a piece, is the largest.
            assert!(tensors < 8_192, "{tensors} tensors");
            let _ = sv_audio::frontend::FeatureExtractor::new(&description.front_end);
        }
    }
}
