//! WeSpeaker's ResNet with basic blocks.

use super::Network;
use super::tensors::{Theirs, count, rows_and_columns, size, take};
use crate::checkpoint::StateDict;
use crate::encoders::resnet::{ResNetConfig, ResNetForm};
use crate::{EncoderConfig, ModelError};

/// Reads `avg_model.pt`; the head of its training, `projection.weight`, is left out.
pub(super) fn wespeaker(state: &StateDict) -> Result<Network, ModelError> {
    let stages = count(state, |stage| format!("layer{}.0.conv1.weight", stage + 1));
    let blocks = |stage: usize| count(state, |block| format!("layer{}.{block}.conv1.weight", stage + 1));
    let (size_, pooled) = rows_and_columns(state, "seg_1.weight")?;
    let mut config = ResNetConfig {
        form: ResNetForm::Wespeaker,
        bins: 1,
        channels: size(state, "conv1.weight", 4, 0)?,
        blocks: (0..stages).map(blocks).collect(),
        size: size_,
    };
    config.validate()?;
    // With one bin, one row is pooled; the rows there are, times what the strides leave out, are the bins. Where they do not
    // divide, the embedding layer's shape is refused below.
    config.bins = (pooled / (2 * config.pooled())).max(1) << stages.saturating_sub(1);
    config.validate()?;
    let theirs = |ours: &[&str]| match *ours {
        ["stem", layer] => Theirs::layer(if layer == "conv" { "conv1" } else { "bn1" }),
        ["stages", stage, block, ref rest @ ..] => {
            let layer = match *rest {
                ["shortcut", "conv"] => "shortcut.0",
                ["shortcut", _] => "shortcut.1",
                ["norm1"] => "bn1",
                ["norm2"] => "bn2",
                ["conv1"] => "conv1",
                _ => "conv2",
            };
            Theirs::layer(format!("layer{}.{block}.{layer}", stage.parse::<usize>().unwrap_or_default() + 1))
        }
        _ => Theirs::layer("seg_1"),
    };
    let tensors = take(state, &config.tensors(), theirs, super::wespeaker::is_training_head)?;
    Ok((EncoderConfig::ResNet(config), tensors))
}
