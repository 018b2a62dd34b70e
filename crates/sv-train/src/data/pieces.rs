//! What is cut out of a prepared recording: pieces, as features or as the stretch of wave that gives them.

use std::ops::Range;

use ndarray::Array2;
use sv_audio::frontend::{FeatureExtractor, FrontEnd};
use sv_audio::vad::librosa;
use sv_audio::{AudioError, Waveform};

use super::PreparationConfig;

/// Part of a recording that rows are cut from.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Its features, or the samples that they are computed from.
    pub content: PieceContent,
    /// Of samples: the frame of theirs that is the piece's first; those before are there for the window's sake. 0 of features.
    pub lead: usize,
    /// T, frames of the piece.
    pub frames: usize,
}

/// What of a piece is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum PieceContent {
    /// (T, F) features, when nothing changes from step to step but the crop.
    Features(Array2<f32>),
    /// Samples at the front end's rate, when noise or augmentation comes before the features.
    Waveform(Vec<f32>),
}

impl Piece {
    /// Bytes that it takes, without its own struct.
    pub(super) fn bytes(&self) -> usize {
        size_of::<f32>()
            * match &self.content {
                PieceContent::Features(features) => features.len(),
                PieceContent::Waveform(samples) => samples.len(),
            }
    }
}

/// A stretch of wave, and the frames of its own transform that are one piece.
struct Cut {
    samples: Range<usize>,
    frames: Range<usize>,
}

/// The pieces of a wave that [`FeatureExtractor::prepare`] has prepared, as features, in order of time.
///
/// # Errors
/// Those of [`FeatureExtractor::features`], but for waves that are too short for a frame: they have no piece.
pub(super) fn cut_features(
    extractor: &FeatureExtractor,
    wave: &Waveform,
    rule: &PreparationConfig,
) -> Result<Vec<Piece>, AudioError> {
    let mut pieces = Vec::new();
    let mut last: Option<(Range<usize>, Array2<f32>)> = None;
    for cut in cuts(extractor, wave, rule) {
        // Two pieces of one stretch share its transform.
        let features = match last.take() {
            Some((samples, features)) if samples == cut.samples => features,
            _ => {
                let stretch = Waveform::new(wave.samples()[cut.samples.clone()].to_vec(), wave.rate_hz())?;
                extractor.features(&stretch)?.into_inner()
            }
        };
        let frames = cut.frames.len();
        let rows = features.slice_axis(ndarray::Axis(0), ndarray::Slice::from(cut.frames)).to_owned();
        pieces.push(Piece { content: PieceContent::Features(rows), lead: 0, frames });
        last = Some((cut.samples, features));
    }
    Ok(pieces)
}

/// The same pieces as samples: just enough of them that every frame comes out as if the stretch was whole.
pub(super) fn cut_waveforms(extractor: &FeatureExtractor, wave: &Waveform, rule: &PreparationConfig) -> Vec<Piece> {
    let cuts = cuts(extractor, wave, rule);
    let pieces = cuts.into_iter().map(|cut| {
        let stretch = &wave.samples()[cut.samples];
        let frames = cut.frames.len();
        let whole = frames == extractor.frames(stretch.len());
        let (samples, lead) = match whole {
            true => (0..stretch.len(), 0),
            false => samples_of(extractor.front_end(), cut.frames, stretch.len()),
        };
        Piece { content: PieceContent::Waveform(stretch[samples].to_vec()), lead, frames }
    });
    pieces.collect()
}

/// The samples (of `len`) that `frames` are computed from, from a multiple of the hop on, and how many frames come before.
pub(super) fn samples_of(front_end: &FrontEnd, frames: Range<usize>, len: usize) -> (Range<usize>, usize) {
    // One more than half a transform where frames reach back: reflection at an end reaches one sample further.
    let reach = front_end.reach();
    let half = if reach.start < 0 { front_end.n_fft / 2 + 1 } else { 0 };
    let before = half.max(usize::try_from(-reach.start).map_or(0, |samples| samples + 1));
    let after = half.max(usize::try_from(reach.end).map_or(0, |samples| samples + 1));
    let first = (frames.start * front_end.hop).saturating_sub(before) / front_end.hop;
    let end = (frames.end.saturating_sub(1) * front_end.hop + after).min(len);
    (first * front_end.hop..end.max(first * front_end.hop), frames.start - first)
}

fn cuts(extractor: &FeatureExtractor, wave: &Waveform, rule: &PreparationConfig) -> Vec<Cut> {
    let FrontEnd { hop, win_length, .. } = *extractor.front_end();
    let samples = wave.samples();
    let whole = |range: Range<usize>, least: usize| {
        let frames = extractor.frames(range.len());
        (frames >= least.max(1)).then_some(Cut { samples: range, frames: 0..frames })
    };
    match *rule {
        PreparationConfig::Whole { trim_db, least_frames } => {
            let range = trim_db.map_or(0..samples.len(), |top_db| librosa::trim(samples, top_db));
            whole(range, least_frames).into_iter().collect()
        }
        PreparationConfig::SplitWhole { top_db, least_frames } => {
            librosa::split(samples, top_db).into_iter().filter_map(|range| whole(range, least_frames)).collect()
        }
        PreparationConfig::LastFrames { trim_db, frames } => {
            let range = trim_db.map_or(0..samples.len(), |db| librosa::trim(samples, db));
            let have = extractor.frames(range.len());
            let enough = range.len() > (frames + 2) * hop && have >= frames;
            enough.then(|| Cut { samples: range, frames: have - frames..have }).into_iter().collect()
        }
        PreparationConfig::Split { top_db, frames } => {
            let need = frames * hop + win_length;
            let mut cuts = Vec::new();
            for range in librosa::split(samples, top_db).into_iter().filter(|range| range.len() >= need) {
                let have = extractor.frames(range.len());
                if have >= frames {
                    cuts.push(Cut { samples: range.clone(), frames: 0..frames });
                    if range.len() > need {
                        cuts.push(Cut { samples: range, frames: have - frames..have });
                    }
                }
            }
            cuts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sv_audio::stft::Padding;

    fn extractor(padding: Padding) -> FeatureExtractor {
        let mut front_end = FrontEnd::ge2e_tf();
        front_end.padding = padding;
        FeatureExtractor::new(&front_end).unwrap()
    }

    /// Loud stretches in silence; a bound on a multiple of 512 samples makes librosa's frames easy to place.
    fn wave(stretches: &[Range<usize>], len: usize) -> Waveform {
        let mut samples = vec![0.0; len];
        for range in stretches {
            for (k, sample) in samples[range.clone()].iter_mut().enumerate() {
                *sample = 0.5 * (0.1 * k as f32 + 1e-5 * (k * k) as f32).sin();
            }
        }
        Waveform::new(samples, 8_000).unwrap()
    }

    #[test]
    fn the_split_rule_takes_the_first_and_the_last_frames_of_long_stretches() {
        // 20 dB: a frame of 2,048 is kept with a hundredth of the energy, so a stretch grows by two hops at each side at most.
        // The first stretch, 13,312 samples, grows to no more than 15,360; the second is far below 14,600.
        let extractor = extractor(Padding::CentreZeros);
        let wave = wave(&[4_096..17_408, 30_720..35_840], 40_960);
        let stretches = librosa::split(wave.samples(), 20.0);
        let long: Vec<_> = stretches.iter().filter(|range| range.len() >= 14_600).collect();
        assert_eq!((stretches.len(), long.len()), (2, 1));

        let rule = PreparationConfig::Split { top_db: 20.0, frames: 180 };
        let pieces = cut_features(&extractor, &wave, &rule).unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.frames).collect::<Vec<_>>(), [180, 180]);
        let stretch = Waveform::new(wave.samples()[long[0].clone()].to_vec(), 8_000).unwrap();
        let features = extractor.features(&stretch).unwrap().into_inner();
        let rows = |range: Range<usize>| features.slice_axis(ndarray::Axis(0), ndarray::Slice::from(range)).to_owned();
        let last = features.nrows();
        assert_eq!(pieces[0].content, PieceContent::Features(rows(0..180)));
        assert_eq!(pieces[1].content, PieceContent::Features(rows(last - 180..last)));

        // A stretch of exactly the length: everything is loud, so that split keeps all of it.
        let exact = self::wave(std::slice::from_ref(&(0..14_600)), 14_600);
        assert_eq!(cut_features(&extractor, &exact, &rule).unwrap().len(), 1);
        let shorter = self::wave(std::slice::from_ref(&(0..14_599)), 14_599);
        assert!(cut_features(&extractor, &shorter, &rule).unwrap().is_empty());
    }

    #[test]
    fn the_last_frames_are_those_of_the_trimmed_recording() {
        let extractor = extractor(Padding::CentreZeros);
        let rule = PreparationConfig::LastFrames { trim_db: Some(14.0), frames: 80 };
        let wave = wave(std::slice::from_ref(&(2_048..12_288)), 20_480);
        let trimmed = librosa::trim(wave.samples(), 14.0);
        let stretch = Waveform::new(wave.samples()[trimmed].to_vec(), 8_000).unwrap();
        let features = extractor.features(&stretch).unwrap().into_inner();
        let last = features.nrows();
        let expected = features.slice_axis(ndarray::Axis(0), ndarray::Slice::from(last - 80..last)).to_owned();
        let pieces = cut_features(&extractor, &wave, &rule).unwrap();
        assert_eq!(pieces, [Piece { content: PieceContent::Features(expected), lead: 0, frames: 80 }]);
        // 82 hops are too few, one sample more is enough.
        for (len, count) in [(82 * 80, 0), (82 * 80 + 1, 1)] {
            let wave = self::wave(std::slice::from_ref(&(0..len)), len);
            assert_eq!(cut_features(&extractor, &wave, &rule).unwrap().len(), count);
        }
    }

    #[test]
    fn pieces_kept_as_waves_give_the_same_features_to_the_last_bit() {
        for padding in [Padding::CentreZeros, Padding::CentreReflect, Padding::SnipEdges, Padding::KeepEdges] {
            let extractor = extractor(padding);
            let wave = wave(&[4_096..20_000, 24_576..40_960], 45_003);
            for rule in [
                PreparationConfig::Split { top_db: 20.0, frames: 180 },
                PreparationConfig::LastFrames { trim_db: Some(14.0), frames: 80 },
                PreparationConfig::Whole { trim_db: None, least_frames: 1 },
                PreparationConfig::SplitWhole { top_db: 20.0, least_frames: 1 },
            ] {
                let features = cut_features(&extractor, &wave, &rule).unwrap();
                let waves = cut_waveforms(&extractor, &wave, &rule);
                assert!(!features.is_empty() && features.len() == waves.len(), "{rule:?}");
                for (expected, kept) in features.iter().zip(&waves) {
                    let PieceContent::Waveform(samples) = &kept.content else { panic!("{kept:?}") };
                    let all = extractor.features(&Waveform::new(samples.clone(), 8_000).unwrap()).unwrap().into_inner();
                    let range = ndarray::Slice::from(kept.lead..kept.lead + kept.frames);
                    let got = all.slice_axis(ndarray::Axis(0), range).to_owned();
                    assert_eq!(PieceContent::Features(got), expected.content, "{rule:?} {padding:?}");
                }
            }
        }
    }
}
