//! Which system a foreign checkpoint belongs to, and its tensors under our names.
//!
//! Sizes are read off the tensors; what is not in them (dilations, front end, windows) comes from a table for each family, and where
//! a file beside the tensors says otherwise, that is an error that names the key.
//!
//! | family | file | directory |
//! |---|---|---|
//! | SpeechBrain: ECAPA-TDNN, x-vector | `embedding_model.ckpt` | and `hyperparams.yaml`, and what that loads: `classifier.ckpt`, `label_encoder.txt`, `mean_var_norm_emb.ckpt` |
//! | WeSpeaker: ECAPA-TDNN (GLOB), ResNet with basic blocks | `avg_model.pt` | and `config.yaml` |
//! | TaoRuijie: ECAPA-TDNN | any name | - |
//! | Resemblyzer; the GE2E TensorFlow code: LSTM | any name | - |

mod ecapa;
mod labels;
mod lstm;
mod resnet;
mod settings;
mod speechbrain;
mod taoruijie;
mod tensors;
mod wespeaker;
mod xvector;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sv_audio::frontend::FrontEnd;
use sv_audio::windows::Windows;

use super::StateDict;
use crate::model_dir::{Description, Source, sha256_of};
use crate::weights::Weight;
use crate::{EncoderConfig, ModelDir, ModelError};

/// A family of checkpoints that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    SpeechBrainEcapa,
    SpeechBrainXVector,
    WespeakerEcapa,
    WespeakerResNet,
    TaoRuijie,
    Resemblyzer,
    TensorFlow,
}

/// Systems whose checkpoints are recognised but whose networks are not built yet: a tensor that only they have. Before
/// [`FAMILIES`], some of whose tensors they have too.
const NOT_BUILT: [(&str, &str); 4] = [
    ("xvector.tdnn.linear.weight", "CAM++ (WeSpeaker)"),
    ("resnet.conv1.weight", "ResNet (pyannote)"),
    ("layer1.0.conv3.weight", "ResNet with bottleneck blocks (WeSpeaker)"),
    ("seg_2.weight", "ResNet with two embedding layers (WeSpeaker)"),
];

/// A tensor that only this family has.
const FAMILIES: [(&str, Family); 6] = [
    ("blocks.0.conv.conv.weight", Family::SpeechBrainEcapa),
    ("blocks.0.conv.weight", Family::SpeechBrainXVector),
    ("layer2.se_res2block.0.conv.weight", Family::WespeakerEcapa),
    ("seg_1.weight", Family::WespeakerResNet),
    ("speaker_encoder.conv1.weight", Family::TaoRuijie),
    ("lstm.weight_ih_l0", Family::Resemblyzer),
];

impl Family {
    fn of(state: &StateDict) -> Result<Self, ModelError> {
        if let Some((_, architecture)) = NOT_BUILT.iter().find(|(tensor, _)| state.contains(tensor)) {
            return Err(ModelError::NotBuilt { origin: state.file().into(), architecture });
        }
        if let Some((_, family)) = FAMILIES.iter().find(|(tensor, _)| state.contains(tensor)) {
            return Ok(*family);
        }
        if state.names().any(|name| name.starts_with(lstm::TENSORFLOW_CELL)) {
            return Ok(Self::TensorFlow);
        }
        let names = state.names().take(3).map(str::to_owned).collect();
        Err(ModelError::UnknownArchitecture { file: state.file().into(), names })
    }

    fn name(self) -> &'static str {
        match self {
            Self::SpeechBrainEcapa => "ECAPA-TDNN (SpeechBrain)",
            Self::SpeechBrainXVector => "x-vector (SpeechBrain)",
            Self::WespeakerEcapa => "ECAPA-TDNN (WeSpeaker)",
            Self::WespeakerResNet => "ResNet (WeSpeaker)",
            Self::TaoRuijie => "ECAPA-TDNN (TaoRuijie)",
            Self::Resemblyzer => "LSTM (Resemblyzer)",
            Self::TensorFlow => "LSTM (GE2E TensorFlow code)",
        }
    }
}

/// Reads a checkpoint of another system and converts it in memory.
pub(crate) fn load(path: &Path) -> Result<ModelDir, ModelError> {
    let state = StateDict::read(path)?;
    convert(
        &state,
        Source { name: name_of(path), revision: None, sha256: Some(sha256_of(path)?), files: BTreeMap::new() },
    )
}

/// Reads a directory of another system and converts it in memory.
pub(crate) fn load_directory(path: &Path) -> Result<ModelDir, ModelError> {
    if path.join(speechbrain::YAML).exists() || path.join(speechbrain::MODEL).exists() {
        speechbrain::load(path)
    } else if path.join(wespeaker::MODEL).exists() || path.join(wespeaker::YAML).exists() {
        wespeaker::load(path)
    } else {
        Err(ModelError::NotAModelDirectory { path: PathBuf::from(path) })
    }
}

/// Converts a state dict of a known system.
///
/// # Errors
/// [`ModelError::NotBuilt`] for a system that is recognised but not built yet, [`ModelError::UnknownArchitecture`] for any
/// other; a tensor that is missing, surplus or of another shape is named.
pub fn convert(state: &StateDict, source: Source) -> Result<ModelDir, ModelError> {
    let state = &taoruijie::without_module(state);
    match Family::of(state)? {
        Family::SpeechBrainEcapa => encoder_alone(state, ecapa::speechbrain(state)?, "speechbrain", source),
        Family::SpeechBrainXVector => encoder_alone(state, xvector::speechbrain(state)?, "speechbrain-xvector", source),
        Family::WespeakerEcapa => encoder_alone(state, ecapa::wespeaker(state)?, "wespeaker", source),
        Family::WespeakerResNet => encoder_alone(state, resnet::wespeaker(state)?, "wespeaker", source),
        Family::TaoRuijie => encoder_alone(state, taoruijie::read(state)?, "taoruijie", source),
        Family::Resemblyzer => lstm::resemblyzer(state, source),
        Family::TensorFlow => lstm::tensorflow_ge2e(state, source),
    }
}

/// Tensors by our names.
type Tensors = BTreeMap<String, Weight>;

/// A network and its tensors.
type Network = (EncoderConfig, Tensors);

/// A model of nothing but a network, on whole utterances.
fn encoder_alone(
    state: &StateDict,
    (encoder, tensors): Network,
    front_end: &str,
    source: Source,
) -> Result<ModelDir, ModelError> {
    let front_end = front_end_for(front_end, encoder.bins())?;
    ModelDir::new(state.file(), describe(encoder, front_end, Windows::Whole, source), tensors)
}

/// The preset `name` with as many bins as the network takes.
fn front_end_for(name: &str, bins: usize) -> Result<FrontEnd, ModelError> {
    let mut front_end = FrontEnd::by_name(name)?;
    front_end.mel.bins = bins;
    Ok(front_end)
}

/// Says what is known of every foreign checkpoint; none of them publishes a threshold in its tensors.
fn describe(encoder: EncoderConfig, front_end: FrontEnd, windows: Windows, source: Source) -> Description {
    Description {
        embedding_size: encoder.embedding_size(),
        labels: None,
        encoder,
        classifier: None,
        embedding_mean: false,
        front_end,
        windows,
        threshold: None,
        source,
    }
}

/// The last piece of a path.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Where a directory's model came from: its name, and the checksums of the files that were read.
fn source_of(folder: &Path, files: &[&str]) -> Result<Source, ModelError> {
    let files = files.iter().map(|&file| Ok((file.to_owned(), sha256_of(&folder.join(file))?)));
    let files = files.collect::<Result<_, ModelError>>()?;
    Ok(Source { name: name_of(folder), revision: None, sha256: None, files })
}

/// The path of a file that a directory must have.
fn needed(folder: &Path, file: &'static str, system: &'static str) -> Result<PathBuf, ModelError> {
    let path = folder.join(file);
    if path.exists() { Ok(path) } else { Err(ModelError::MissingFile { folder: folder.into(), file, system }) }
}
