//! ECAPA-TDNN: the names of three projects for one network.

use super::Network;
use super::tensors::{Theirs, count, size, take};
use crate::checkpoint::StateDict;
use crate::encoders::ecapa::{EcapaConfig, EcapaForm};
use crate::{EncoderConfig, ModelError};

/// The layers off which sizes are read, by their names in a project.
struct Names {
    form: EcapaForm,
    stem: &'static str,
    first_block: usize,
    /// Prefix of a block's layers, and, in it, of the Res2 layer's convolutions.
    block: fn(usize) -> String,
    res2: &'static str,
    /// What follows the number of a Res2 convolution.
    res2_end: &'static str,
    squeeze: (&'static str, usize),
    mfa: &'static str,
    attention: &'static str,
    embedding: (&'static str, usize),
}

/// Dilations of the stem and of the published three blocks; of more, one more each.
fn dilations(blocks: usize) -> Vec<usize> {
    (1..=blocks + 1).collect()
}

fn sizes(state: &StateDict, names: &Names) -> Result<EcapaConfig, ModelError> {
    let Names { stem, first_block, block, res2, res2_end, .. } = *names;
    let weight = |name: &str| format!("{name}.weight");
    let piece = |block_index: usize, piece: usize| weight(&format!("{}{res2}{piece}{res2_end}", block(block_index)));
    let blocks = count(state, |index| piece(first_block + index, 0));
    let mut kernels = vec![size(state, &weight(stem), 3, 2)?];
    for index in 0..blocks {
        kernels.push(size(state, &piece(first_block + index, 0), 3, 2)?);
    }
    let squeeze = weight(&format!("{}{}", block(first_block), names.squeeze.0));
    let config = EcapaConfig {
        form: names.form,
        bins: size(state, &weight(stem), 3, 1)?,
        channels: size(state, &weight(stem), 3, 0)?,
        mfa: size(state, &weight(names.mfa), 3, 0)?,
        attention: size(state, &weight(names.attention), 3, 0)?,
        scale: count(state, |index| piece(first_block, index)) + 1,
        squeeze: size(state, &squeeze, names.squeeze.1, 0)?,
        size: size(state, &weight(names.embedding.0), names.embedding.1, 0)?,
        kernels,
        dilations: dilations(blocks),
    };
    config.validate()?;
    Ok(config)
}

/// The number of a block of ours plus `first`, in their names.
fn shifted(block: &str, first: usize) -> usize {
    block.parse::<usize>().unwrap_or_default() + first
}

/// SpeechBrain's `embedding_model.ckpt`: every name doubles the inner module's.
pub(super) fn speechbrain(state: &StateDict) -> Result<Network, ModelError> {
    let config = sizes(
        state,
        &Names {
            form: EcapaForm::SpeechBrain,
            stem: "blocks.0.conv.conv",
            first_block: 1,
            block: |index| format!("blocks.{index}."),
            res2: "res2net_block.blocks.",
            res2_end: ".conv.conv",
            squeeze: ("se_block.conv1.conv", 3),
            mfa: "mfa.conv.conv",
            attention: "asp.tdnn.conv.conv",
            embedding: ("fc.conv", 3),
        },
    )?;
    let theirs = |ours: &[&str]| match *ours {
        ["stem", layer] => Theirs::layer(format!("blocks.0.{layer}.{layer}")),
        ["blocks", block, tdnn @ ("tdnn1" | "tdnn2"), layer] => {
            Theirs::layer(format!("blocks.{}.{tdnn}.{layer}.{layer}", shifted(block, 1)))
        }
        ["blocks", block, "res2", piece, layer] => {
            Theirs::layer(format!("blocks.{}.res2net_block.blocks.{piece}.{layer}.{layer}", shifted(block, 1)))
        }
        ["blocks", block, "se", which] => {
            let number = if which == "down" { 1 } else { 2 };
            Theirs::convolution(format!("blocks.{}.se_block.conv{number}.conv", shifted(block, 1)))
        }
        ["mfa", layer] => Theirs::layer(format!("mfa.{layer}.{layer}")),
        ["attention", "tdnn", layer] => Theirs::layer(format!("asp.tdnn.{layer}.{layer}")),
        ["attention", _] => Theirs::layer("asp.conv.conv"),
        ["pool", _] => Theirs::layer("asp_bn.norm"),
        _ => Theirs::convolution("fc.conv"),
    };
    let tensors = take(state, &config.tensors(), theirs, |_| false)?;
    Ok((EncoderConfig::Ecapa(config), tensors))
}

/// WeSpeaker's `ECAPA_TDNN_GLOB_*`; the head of its training, `projection.weight`, is left out.
pub(super) fn wespeaker(state: &StateDict) -> Result<Network, ModelError> {
    let config = sizes(
        state,
        &Names {
            form: EcapaForm::Wespeaker,
            stem: "layer1.conv",
            first_block: 2,
            block: |index| format!("layer{index}.se_res2block."),
            res2: "1.convs.",
            res2_end: "",
            squeeze: ("3.linear1", 2),
            mfa: "conv",
            attention: "pool.linear1",
            embedding: ("linear", 2),
        },
    )?;
    let norm = |layer: &str| if layer == "conv" { "conv" } else { "bn" };
    let theirs = |ours: &[&str]| match *ours {
        ["stem", layer] => Theirs::layer(format!("layer1.{}", norm(layer))),
        ["blocks", block, tdnn @ ("tdnn1" | "tdnn2"), layer] => {
            let number = if tdnn == "tdnn1" { 0 } else { 2 };
            Theirs::layer(format!("layer{}.se_res2block.{number}.{}", shifted(block, 2), norm(layer)))
        }
        ["blocks", block, "res2", piece, layer] => {
            Theirs::layer(format!("layer{}.se_res2block.1.{}s.{piece}", shifted(block, 2), norm(layer)))
        }
        ["blocks", block, "se", which] => {
            let number = if which == "down" { 1 } else { 2 };
            Theirs::layer(format!("layer{}.se_res2block.3.linear{number}", shifted(block, 2)))
        }
        ["mfa", _] => Theirs::layer("conv"),
        ["attention", "tdnn", _] => Theirs::layer("pool.linear1"),
        ["attention", _] => Theirs::layer("pool.linear2"),
        ["pool", _] => Theirs::layer("bn"),
        _ => Theirs::layer("linear"),
    };
    let tensors = take(state, &config.tensors(), theirs, super::wespeaker::is_training_head)?;
    Ok((EncoderConfig::Ecapa(config), tensors))
}

/// TaoRuijie's `speaker_encoder`, prefix taken off.
pub(super) fn taoruijie(state: &StateDict) -> Result<Network, ModelError> {
    let config = sizes(
        state,
        &Names {
            form: EcapaForm::TaoRuijie,
            stem: "conv1",
            first_block: 1,
            block: |index| format!("layer{index}."),
            res2: "convs.",
            res2_end: "",
            squeeze: ("se.se.1", 3),
            mfa: "layer4",
            attention: "attention.0",
            embedding: ("fc6", 2),
        },
    )?;
    let norm = |layer: &str| if layer == "conv" { "conv" } else { "bn" };
    let theirs = |ours: &[&str]| match *ours {
        ["stem", layer] => Theirs::layer(format!("{}1", norm(layer))),
        ["blocks", block, tdnn @ ("tdnn1" | "tdnn2"), layer] => {
            let number = if tdnn == "tdnn1" { 1 } else { 3 };
            Theirs::layer(format!("layer{}.{}{number}", shifted(block, 1), norm(layer)))
        }
        ["blocks", block, "res2", piece, layer] => {
            Theirs::layer(format!("layer{}.{}s.{piece}", shifted(block, 1), norm(layer)))
        }
        ["blocks", block, "se", which] => {
            let number = if which == "down" { 1 } else { 3 };
            Theirs::convolution(format!("layer{}.se.se.{number}", shifted(block, 1)))
        }
        ["mfa", _] => Theirs::layer("layer4"),
        ["attention", "tdnn", layer] => Theirs::layer(if layer == "conv" { "attention.0" } else { "attention.2" }),
        ["attention", _] => Theirs::layer("attention.4"),
        ["pool", _] => Theirs::layer("bn5"),
        ["embedding", _] => Theirs::layer("bn6"),
        _ => Theirs::layer("fc6"),
    };
    let tensors = take(state, &config.tensors(), theirs, super::taoruijie::is_front_end)?;
    Ok((EncoderConfig::Ecapa(config), tensors))
}
