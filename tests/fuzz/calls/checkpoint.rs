//! What the fuzz targets `pickle` and `safetensors` and the test `checkpoint_memory` call.

use sv_models::checkpoint::StateDict;

/// Reads bytes as a checkpoint of any format and lays out every tensor: values, or an error whose message is short and harmless, never a
/// panic. Says whether it was read.
pub(crate) fn call(bytes: &[u8]) -> bool {
    match StateDict::from_bytes("fuzz", bytes) {
        Ok(dict) => {
            for (name, tensor) in dict.iter() {
                assert_eq!(tensor.len() * tensor.dtype.size(), tensor.bytes().len(), "{name}");
                assert_eq!(tensor.f32().is_ok(), tensor.dtype.is_float(), "{name}");
            }
            true
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.chars().count() < 1000 && !message.chars().any(char::is_control), "{message:?}");
            false
        }
    }
}
