//! The TensorFlow GE2E code's enrol/verify test.

use sv_audio::frontend::FeatureExtractor;
use sv_audio::windows::Windows;
use sv_metrics::eer::{self, Ge2eTest};
use sv_models::Plan;

use super::Utterances;
use crate::data::{Manifest, Recording};
use crate::{Purpose, Stream, TrainError};

/// The TensorFlow GE2E code's test: N speakers, M utterances of each to enrol and M others to verify.
#[derive(Debug, Clone)]
pub struct ProtocolResult {
    /// The speakers, in order.
    pub speakers: Vec<String>,
    /// M.
    pub utterances: usize,
    /// (N, M, N), row-major: of each speaker's verification utterances to each enrolled speaker.
    pub similarity: Vec<f64>,
    /// Rates on its grid of thresholds.
    pub test: Ge2eTest,
}

/// Runs the test on `speakers` speakers of `manifest`, drawn by `seed`, with `utterances` to enrol and as many to verify.
///
/// An enrolled speaker is the mean of unit embeddings, of length one again; a score is the cosine.
///
/// # Errors
/// [`TrainError::Protocol`] if fewer speakers have twice `utterances`; those of reading and embedding.
///
/// # Source
/// Janghyun1230/Speaker_Verification, `model.py: test`; its draws are the first speakers of a folder, ours are seeded.
pub fn ge2e_protocol(
    plan: &Plan,
    manifest: &Manifest,
    extractor: &FeatureExtractor,
    windows: &Windows,
    speakers: usize,
    utterances: usize,
    seed: u64,
) -> Result<ProtocolResult, TrainError> {
    let mut of_speaker: std::collections::BTreeMap<&str, Vec<&Recording>> = std::collections::BTreeMap::new();
    for entry in &manifest.entries {
        of_speaker.entry(&entry.speaker).or_default().push(&entry.recording);
    }
    let qualified: Vec<(&str, Vec<&Recording>)> =
        of_speaker.into_iter().filter(|(_, recordings)| recordings.len() / 2 >= utterances).collect();
    if qualified.len() < speakers || speakers < 2 || utterances == 0 {
        return Err(TrainError::Protocol { speakers, utterances, qualified: qualified.len() });
    }
    let mut chosen = Stream::new(seed, Purpose::Evaluation, 0, 0).distinct(qualified.len(), speakers);
    chosen.sort_unstable();
    let mut recordings = Vec::new();
    for (item, &speaker) in chosen.iter().enumerate() {
        let own = &qualified[speaker].1;
        let drawn = Stream::new(seed, Purpose::Evaluation, 1, item as u64).distinct(own.len(), 2 * utterances);
        recordings.extend(drawn.into_iter().map(|index| own[index]));
    }
    let embeddings = Utterances::read(&recordings, &manifest.root, extractor, windows)?.embed(plan)?;
    let rows: Vec<Vec<f64>> =
        embeddings.rows().into_iter().map(|row| unit(row.iter().map(|&v| f64::from(v)))).collect();
    let of = |speaker: usize| &rows[speaker * 2 * utterances..(speaker + 1) * 2 * utterances];
    let enrolled: Vec<Vec<f64>> = (0..speakers)
        .map(|speaker| {
            let own = &of(speaker)[..utterances];
            unit((0..embeddings.ncols()).map(|d| own.iter().map(|row| row[d]).sum::<f64>()))
        })
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let similarity: Vec<f64> = (0..speakers)
        .flat_map(|speaker| &of(speaker)[utterances..])
        .flat_map(|row| enrolled.iter().map(|model| dot(row, model)))
        .collect();
    let test = eer::ge2e_protocol(&similarity, speakers, utterances)?;
    let names = chosen.into_iter().map(|speaker| qualified[speaker].0.to_owned()).collect();
    Ok(ProtocolResult { speakers: names, utterances, similarity, test })
}

fn unit(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    // Zeros have no direction: their cosine with everything is 0.
    values.into_iter().map(|value| if norm > 0.0 { value / norm } else { value }).collect()
}
