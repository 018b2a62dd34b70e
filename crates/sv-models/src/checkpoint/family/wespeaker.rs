//! WeSpeaker's directories: `avg_model.pt` and `config.yaml`.

use std::path::Path;

use super::settings::{Allowed, Rule, Settings};
use super::{Family, convert, needed, source_of};
use crate::checkpoint::StateDict;
use crate::checkpoint::yaml::Yaml;
use crate::{EncoderConfig, ModelDir, ModelError};

pub(super) const MODEL: &str = "avg_model.pt";
pub(super) const YAML: &str = "config.yaml";
const SYSTEM: &str = "a WeSpeaker directory";

/// Names of `model` that are read: the family, and, of ResNets, the blocks of each stage.
const MODELS: [(&str, Family, &[usize]); 4] = [
    ("ECAPA_TDNN_GLOB_c512", Family::WespeakerEcapa, &[]),
    ("ECAPA_TDNN_GLOB_c1024", Family::WespeakerEcapa, &[]),
    ("ResNet18", Family::WespeakerResNet, &[2, 2, 2, 2]),
    ("ResNet34", Family::WespeakerResNet, &[3, 4, 6, 3]),
];

/// Whether a tensor belongs to the head that only training uses.
pub(super) fn is_training_head(name: &str) -> bool {
    name.starts_with("projection.")
}

/// Reads a directory.
pub(super) fn load(folder: &Path) -> Result<ModelDir, ModelError> {
    let model_file = needed(folder, MODEL, SYSTEM)?;
    let settings = Settings::read(&needed(folder, YAML, SYSTEM)?)?;
    let state = StateDict::read(&model_file)?;
    let family = Family::of(&state)?;
    let model = convert(&state, source_of(folder, &[MODEL, YAML])?)?;
    let Some(name) = settings.get("model") else {
        return Err(settings.refused("model".into(), &Yaml::Map(Vec::new()), "the name of a network".into()));
    };
    let encoder = &model.description().encoder;
    match MODELS.iter().find(|(known, ..)| name.text() == Some(known)) {
        Some((known, of, blocks)) => {
            if *of != family {
                let expected = (*known).to_owned();
                return Err(ModelError::OtherArchitecture {
                    file: model_file,
                    found: family.name(),
                    expected,
                    by: YAML,
                });
            }
            if let EncoderConfig::ResNet(config) = encoder
                && config.blocks != *blocks
            {
                let need = format!("a network of {:?} blocks, as the tensors have", config.blocks);
                return Err(settings.refused("model".into(), name, need));
            }
        }
        None => {
            let known: Vec<&str> = MODELS.iter().map(|(known, ..)| *known).collect();
            return Err(settings.refused("model".into(), name, format!("one of {}", known.join(", "))));
        }
    }
    check(&settings, encoder)?;
    Ok(model)
}

/// Compares `config.yaml` with what was read and with what is known of the family. Of what was set for training alone, nothing is
/// looked at.
fn check(settings: &Settings, encoder: &EncoderConfig) -> Result<(), ModelError> {
    use Allowed::{Anything, Flag, Number, Text};
    let pooling = if matches!(encoder, EncoderConfig::ResNet(_)) { "TSTP" } else { "ASTP" };
    let arguments: [Rule; 5] = [
        ("feat_dim", Allowed::size(encoder.bins())),
        ("embed_dim", Allowed::size(encoder.embedding_size())),
        ("pooling_func", vec![Text(pooling)]),
        ("two_emb_layer", vec![Flag(false)]),
        ("emb_bn", vec![Flag(false)]),
    ];
    if let Some(section) = settings.get("model_args") {
        settings.check("model_args", section, &arguments)?;
    }
    let Some(data) = settings.get("dataset_args") else { return Ok(()) };
    let features: [Rule; 5] = [
        ("num_mel_bins", Allowed::size(encoder.bins())),
        ("frame_shift", vec![Number(10.0)]),
        ("frame_length", vec![Number(25.0)]),
        // Noise that only training adds.
        ("dither", vec![Anything]),
        ("window_type", vec![Text("hamming")]),
    ];
    let normalisation: [Rule; 2] = [("norm_mean", vec![Flag(true)]), ("norm_var", vec![Flag(false)])];
    for (key, value) in data.entries() {
        match key.as_str() {
            "frontend" | "resample_rate" | "cmvn" => {
                let rules: [Rule; 3] = [
                    ("frontend", vec![Text("fbank")]),
                    ("resample_rate", vec![Number(16_000.0)]),
                    ("cmvn", vec![Flag(true)]),
                ];
                let alone = Yaml::Map(vec![(key.clone(), value.clone())]);
                settings.check("dataset_args", &alone, &rules)?;
            }
            "fbank_args" => settings.check("dataset_args.fbank_args", value, &features)?,
            "cmvn_args" => settings.check("dataset_args.cmvn_args", value, &normalisation)?,
            _ => {}
        }
    }
    Ok(())
}
