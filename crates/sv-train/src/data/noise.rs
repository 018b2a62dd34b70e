//! Noise added to the waves of a step, as the text-dependent TensorFlow training does.

use std::path::{Path, PathBuf};

use sv_audio::Waveform;
use sv_audio::frontend::FrontEnd;
use sv_audio::resample::ResamplePlan;

use super::corpora::listed;
use super::store::read;
use super::{DataError, NoiseConfig, NoiseSource, Recording};
use crate::{Purpose, Stream, TrainError};

/// Deepest folder of recordings that is searched.
const DEPTH: usize = 6;
/// Names that recordings end in.
const EXTENSIONS: [&str; 10] = ["wav", "flac", "ogg", "oga", "opus", "mp3", "m4a", "aac", "aiff", "caf"];

/// Noise ready to be added, at the front end's rate.
#[derive(Debug)]
pub(super) struct Noise {
    tracks: Tracks,
    snr_db: Option<[f64; 2]>,
}

#[derive(Debug)]
enum Tracks {
    Recorded(Vec<Vec<f32>>),
    White { rms: f64 },
}

/// Where a row's samples lie: what to add is found from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) row: usize,
    /// Sample of the track under the centre of the row's first frame.
    pub(super) track_start: usize,
    /// Samples that the row's wave has before that centre.
    pub(super) before: usize,
}

impl Noise {
    /// Reads what the configuration names; of each track as much as `longest` samples, those of the longest batch.
    pub(super) fn load(config: &NoiseConfig, front_end: &FrontEnd, longest: usize) -> Result<Self, TrainError> {
        let tracks = match &config.source {
            NoiseSource::White { level_dbfs } => Tracks::White { rms: 10_f64.powf(level_dbfs / 20.0) },
            NoiseSource::Folder { path } => {
                let mut tracks = Vec::new();
                for wave in recordings(path)?.into_iter().map(|file| at_rate(path, &file, front_end)) {
                    let mut samples = wave?.into_samples();
                    samples.truncate(longest);
                    tracks.push(samples);
                }
                Tracks::Recorded(tracks)
            }
            NoiseSource::Twin { clean, noisy, tracks } => {
                Tracks::Recorded(differences(clean, noisy, *tracks, front_end, longest)?)
            }
        };
        Ok(Self { tracks, snr_db: config.snr_db })
    }

    /// Adds the noise of a row to its samples.
    pub(super) fn add(&self, samples: &mut [f32], place: Place) {
        let Place { seed, step, row, track_start, before } = place;
        let mut stream = Stream::new(seed, Purpose::Noise, step, 1 + row as u64);
        let snr_db = self.snr_db.map(|[low, high]| stream.uniform(low, high));
        let noise: Vec<f32> = match &self.tracks {
            Tracks::White { rms } => samples.iter().map(|_| (rms * stream.normal()) as f32).collect(),
            Tracks::Recorded(tracks) => {
                let track = &tracks[Stream::new(seed, Purpose::Noise, step, 0).below(tracks.len())];
                let at = |k: usize| {
                    // Nothing comes before the track; after its end it begins again.
                    let index = (track_start + k).checked_sub(before)?;
                    index.checked_rem(track.len()).map(|index| track[index])
                };
                (0..samples.len()).map(|k| at(k).unwrap_or(0.0)).collect()
            }
        };
        let gain = snr_db.map_or(1.0, |snr_db| {
            let (speech, noise) = (power(samples), power(&noise));
            if noise > 0.0 { (speech / noise / 10_f64.powf(snr_db / 10.0)).sqrt() } else { 0.0 }
        });
        for (sample, noise) in samples.iter_mut().zip(noise) {
            *sample += (gain * f64::from(noise)) as f32;
        }
    }
}

fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / samples.len().max(1) as f64
}

/// All recordings below a folder, as paths below it, sorted folder by folder.
///
/// # Errors
/// [`TrainError::Read`]; [`DataError::NoRecordings`] if there is none.
pub(super) fn recordings(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = open.pop() {
        found.extend(listed(folder, &below, false)?.into_iter().filter(|file| {
            let extension = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            EXTENSIONS.contains(&extension.as_str())
        }));
        if depth < DEPTH {
            open.extend(listed(folder, &below, true)?.into_iter().map(|below| (below, depth + 1)));
        }
    }
    if found.is_empty() {
        let expected = "recordings (WAV, FLAC, Ogg, MP3, M4A, ...)";
        return Err(DataError::NoRecordings { folder: folder.to_owned(), corpus: "noise", expected }.into());
    }
    found.sort_unstable();
    Ok(found)
}

/// A recording at the front end's rate; its level stays as it is, and nothing is cut out.
pub(super) fn at_rate(root: &Path, file: &Path, front_end: &FrontEnd) -> Result<Waveform, DataError> {
    let name = || root.join(file).display().to_string();
    let wave = read(root, &Recording::File(file.to_owned())).map_err(DataError::audio(name()))?;
    resampled(wave, front_end).map_err(DataError::audio(name()))
}

fn resampled(wave: Waveform, front_end: &FrontEnd) -> Result<Waveform, sv_audio::AudioError> {
    let rate_hz = front_end.rate_hz;
    if wave.rate_hz() == rate_hz {
        return Ok(wave);
    }
    let plan = ResamplePlan::new(wave.rate_hz(), rate_hz, front_end.resampler)?;
    Waveform::new(plan.process(wave.samples())?, rate_hz)
}

/// Tracks of what noisy recordings have beyond their clean twins.
fn differences(
    clean: &Path,
    noisy: &Path,
    most: usize,
    front_end: &FrontEnd,
    longest: usize,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let mut tracks = Vec::new();
    let mut track = Vec::new();
    for file in recordings(noisy)? {
        let no_twin = || DataError::NoTwin { noisy: noisy.join(&file), clean: clean.to_owned() };
        if !clean.join(&file).is_file() {
            return Err(no_twin().into());
        }
        let wave = |root: &Path| {
            let name = root.join(&file).display().to_string();
            read(root, &Recording::File(file.clone())).map_err(DataError::audio(name))
        };
        let (with, without) = (wave(noisy)?, wave(clean)?);
        if with.rate_hz() != without.rate_hz() {
            return Err(no_twin().into());
        }
        let noise = with.samples().iter().zip(without.samples()).map(|(with, without)| with - without).collect();
        let name = noisy.join(&file).display().to_string();
        let noise = Waveform::new(noise, with.rate_hz()).and_then(|wave| resampled(wave, front_end));
        track.extend_from_slice(noise.map_err(DataError::audio(name))?.samples());
        if track.len() >= longest {
            track.truncate(longest);
            tracks.push(std::mem::take(&mut track));
            if tracks.len() == most {
                break;
            }
        }
    }
    // Recordings that do not fill even one track make one that is repeated.
    if tracks.is_empty() {
        tracks.push(track);
    }
    Ok(tracks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, samples: &[f32]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, Waveform::new(samples.to_vec(), 8_000).unwrap().to_wav()).unwrap();
    }

    fn place(step: u64, row: usize, track_start: usize, before: usize) -> Place {
        Place { seed: 1, step, row, track_start, before }
    }

    #[test]
    fn rows_take_the_track_one_after_the_other_and_begin_again_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let ramp: Vec<f32> = (0..100).map(|k| k as f32 / 128.0).collect();
        write(&folder.path().join("deep/er/ramp.wav"), &ramp);
        std::fs::write(folder.path().join("README.txt"), "no recording").unwrap();
        let config = NoiseConfig { source: NoiseSource::Folder { path: folder.path().to_owned() }, snr_db: None };
        let noise = Noise::load(&config, &FrontEnd::ge2e_tf(), 1_000).unwrap();
        let mut row = vec![0.5; 4];
        noise.add(&mut row, place(3, 0, 0, 2));
        assert_eq!(row, [0.5, 0.5, 0.5, 0.5 + 1.0 / 128.0]);
        let mut row = vec![0.0; 4];
        noise.add(&mut row, place(3, 1, 100, 2));
        assert_eq!(row, [98.0 / 128.0, 99.0 / 128.0, 0.0, 1.0 / 128.0]);
    }

    #[test]
    fn the_noisy_twin_gives_the_difference_in_tracks_as_long_as_a_batch() {
        let folder = tempfile::tempdir().unwrap();
        let (clean, noisy) = (folder.path().join("clean"), folder.path().join("noisy"));
        for (k, name) in ["a.wav", "b.wav", "c.wav", "d.wav", "e.wav"].iter().enumerate() {
            write(&clean.join(name), &[0.25; 60]);
            write(&noisy.join(name), &[0.25 + (k + 1) as f32 / 16.0; 60]);
        }
        let tracks = differences(&clean, &noisy, 16, &FrontEnd::ge2e_tf(), 100).unwrap();
        // a + b give the first track, 40 of b's samples; what is left of b is dropped; c + d give the second, e is dropped.
        assert_eq!(tracks.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100]);
        assert_eq!((tracks[0][0], tracks[0][60], tracks[1][0]), (1.0 / 16.0, 2.0 / 16.0, 3.0 / 16.0));
        assert_eq!(differences(&clean, &noisy, 1, &FrontEnd::ge2e_tf(), 100).unwrap().len(), 1);
        std::fs::remove_file(clean.join("b.wav")).unwrap();
        let error = differences(&clean, &noisy, 16, &FrontEnd::ge2e_tf(), 100).unwrap_err();
        assert!(matches!(error, TrainError::Data(DataError::NoTwin { .. })), "{error}");
    }

    #[test]
    fn a_ratio_is_met_and_white_noise_has_its_level() {
        let white = |snr_db| NoiseConfig { source: NoiseSource::White { level_dbfs: -20.0 }, snr_db };
        let speech: Vec<f32> = (0..8_000).map(|k| 0.3 * (0.2 * k as f32).sin()).collect();
        for (snr_db, expected_db) in [(Some([7.0, 7.0]), 7.0), (None, 10.0 * (power(&speech) / 0.01).log10())] {
            let noise = Noise::load(&white(snr_db), &FrontEnd::ge2e_tf(), 0).unwrap();
            let mut noisy = speech.clone();
            noise.add(&mut noisy, place(0, 0, 0, 0));
            let added: Vec<f32> = noisy.iter().zip(&speech).map(|(noisy, clean)| noisy - clean).collect();
            let got_db = 10.0 * (power(&speech) / power(&added)).log10();
            // The level of 8,000 draws is within 0.3 dB (four deviations); a ratio is exact.
            assert!((got_db - expected_db).abs() < if snr_db.is_some() { 1e-3 } else { 0.3 }, "{got_db} {expected_db}");
        }
    }

    #[test]
    fn a_folder_without_recordings_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = recordings(folder.path()).unwrap_err();
        assert!(matches!(error, TrainError::Data(DataError::NoRecordings { corpus: "noise", .. })), "{error}");
    }
}
