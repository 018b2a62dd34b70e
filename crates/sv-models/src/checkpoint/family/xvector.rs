//! SpeechBrain's x-vector network: three modules a block, of which the activation has no tensors.

use super::Network;
use super::tensors::{Theirs, count, size, take};
use crate::checkpoint::StateDict;
use crate::encoders::xvector::XVectorConfig;
use crate::{EncoderConfig, ModelError};

/// Reads `embedding_model.ckpt`.
pub(super) fn speechbrain(state: &StateDict) -> Result<Network, ModelError> {
    let conv = |block: usize| format!("blocks.{}.conv.weight", 3 * block);
    let blocks = count(state, conv);
    let (mut channels, mut kernels) = (Vec::new(), Vec::new());
    for block in 0..blocks {
        channels.push(size(state, &conv(block), 3, 0)?);
        kernels.push(size(state, &conv(block), 3, 2)?);
    }
    let config = XVectorConfig {
        bins: size(state, &conv(0), 3, 1)?,
        channels,
        kernels,
        // Not in the tensors; 1 where there is no more to tell.
        dilations: XVectorConfig::speechbrain()
            .dilations
            .into_iter()
            .chain(std::iter::repeat(1))
            .take(blocks)
            .collect(),
        // The statistics pooling stands between the last block and the linear layer.
        size: size(state, &format!("blocks.{}.w.weight", 3 * blocks + 1), 2, 0)?,
    };
    config.validate()?;
    let theirs = |ours: &[&str]| match *ours {
        ["blocks", block, layer] => {
            let first = 3 * block.parse::<usize>().unwrap_or_default();
            let module = if layer == "conv" { first } else { first + 2 };
            Theirs::layer(format!("blocks.{module}.{layer}"))
        }
        _ => Theirs::layer(format!("blocks.{}.w", 3 * blocks + 1)),
    };
    let tensors = take(state, &config.tensors(), theirs, |_| false)?;
    Ok((EncoderConfig::XVector(config), tensors))
}
