//! From a manifest to batches through the public door: synthetic voices, real recordings, hostile folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::data::data_dir;
use sv_audio::Waveform;
use sv_audio::augment::{self, AugmentConfig};
use sv_audio::frontend::{FeatureExtractor, FrontEnd};
use sv_audio::synth::{Corpus, Speaker};
use sv_train::TrainError;
use sv_train::data::{
    AugmentationConfig, Batch, Classes, CropConfig, CropEdges, DataConfig, DataError, Draw, Entry, FeatureOffsetConfig,
    Loader, Manifest, NoiseConfig, NoiseSource, Preparation, PreparationConfig, Recording, SamplerConfig, Selection,
    TakeFrom, TrainingData, synthetic,
};

fn config(draw: Draw) -> DataConfig {
    DataConfig {
        classes: Classes::Speaker,
        preparation: PreparationConfig::Whole { trim_db: None, least_frames: 40 },
        sampler: SamplerConfig {
            speakers: 3,
            utterances: 2,
            draw,
            phrases_together: false,
            once_per_frames: None,
            least_recordings: None,
        },
        crop: CropConfig { frames: [50, 60], from: TakeFrom::Random, edges: CropEdges::Recording },
        noise: None,
        augmentation: None,
        copies: vec![],
        feature_offset: None,
        memory_mib: 64,
    }
}

fn voices() -> Manifest {
    synthetic(Corpus::TextDependent, 1, 0..4, 3, "train")
}

fn prepare(manifest: &Manifest, config: &DataConfig, cache: Option<&Path>) -> (TrainingData, Preparation) {
    TrainingData::prepare(manifest, config, &FrontEnd::ge2e_tf(), cache, &|_, _| {})
        .expect("a test's own files and settings")
}

fn refusal(manifest: &Manifest, config: &DataConfig) -> DataError {
    match TrainingData::prepare(manifest, config, &FrontEnd::ge2e_tf(), None, &|_, _| {}) {
        Err(TrainError::Data(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn bits(batch: &Batch) -> Vec<u32> {
    batch.features.iter().map(|value| value.to_bits()).collect()
}

fn batches(data: &TrainingData) -> Vec<Batch> {
    (0..4).map(|step| data.batch(9, step).expect("a test's own files and settings")).collect()
}

fn entry(path: &str, speaker: &str) -> Entry {
    Entry {
        recording: Recording::File(path.into()),
        speaker: speaker.into(),
        phrase: None,
        split: "train".into(),
        corpus: String::new(),
        seconds: None,
    }
}

/// A folder with recordings of noise, 1 s each at 8 kHz, and their manifest.
fn folder(recordings: usize, speakers: usize) -> (tempfile::TempDir, Manifest) {
    let folder = tempfile::tempdir().expect("a test's own files and settings");
    let mut entries = Vec::new();
    for number in 0..recordings {
        let mut state = number as u32 + 1;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 25) as f32 - 0.25
        };
        let samples = (0..8_000).map(|_| noise()).collect();
        let path = format!("{number:03}.wav");
        fs::write(
            folder.path().join(&path),
            Waveform::new(samples, 8_000).expect("a test's own files and settings").to_wav(),
        )
        .expect("a test's own files and settings");
        entries.push(entry(&path, &format!("s{}", number % speakers)));
    }
    let root = folder.path().to_owned();
    (folder, Manifest { root, entries })
}

#[test]
fn a_batch_has_the_shape_and_the_classes_that_were_asked_for() {
    let (data, report) = prepare(&voices(), &config(Draw::Distinct), None);
    assert_eq!((report.recordings, report.pieces, report.classes), (12, 12, 4));
    // 1.2 s at 8 kHz, 10 ms a frame, and the frame at 0.
    assert_eq!((report.frames, data.statistics().frames), (12 * 121, 12 * 121));
    let mut lengths = BTreeSet::new();
    for step in 0..30 {
        let batch = data.batch(9, step).unwrap();
        assert_eq!((batch.rows, batch.bins, batch.speakers, batch.utterances), (6, 40, 3, 2));
        assert_eq!(batch.features.len(), batch.rows * batch.frames * batch.bins);
        assert!(batch.classes.chunks(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(batch.classes.iter().collect::<BTreeSet<_>>().len(), 3);
        assert!(batch.pieces.chunks(2).all(|pair| pair[0] != pair[1]));
        for (class, piece) in batch.classes.iter().zip(&batch.pieces) {
            let voice = data.classes()[*class as usize].trim_start_matches("synthetic").parse::<u64>().unwrap();
            assert!(data.describe(*piece).contains(&format!("speaker {voice} ")), "{}", data.describe(*piece));
        }
        lengths.insert(batch.frames);
    }
    assert!(lengths.len() > 5 && lengths.iter().all(|frames| (50..=60).contains(frames)), "{lengths:?}");
}

#[test]
fn a_step_gives_the_same_bits_whatever_came_before_and_another_seed_others() {
    let (data, _) = prepare(&voices(), &config(Draw::Distinct), None);
    let third = data.batch(9, 3).unwrap();
    batches(&data);
    assert_eq!(data.batch(9, 3).unwrap(), third);
    assert_ne!(data.batch(8, 3).unwrap(), third);
}

#[test]
fn loaders_of_any_number_of_workers_give_the_same_batches() {
    let (data, _) = prepare(&voices(), &config(Draw::Crops), None);
    let data = Arc::new(data);
    let expected: Vec<Batch> = (5..25).map(|step| data.batch(9, step).unwrap()).collect();
    for (workers, depth) in [(0, 0), (1, 1), (3, 2), (3, 50)] {
        let loaded: Vec<Batch> =
            Loader::start(Arc::clone(&data), 9, 5..25, workers, depth).map(Result::unwrap).collect();
        assert_eq!(loaded, expected, "{workers} workers");
    }
    // Dropped half way, and before anything was asked for: the threads end.
    let mut loader = Loader::start(Arc::clone(&data), 9, 0..1_000_000, 3, 4);
    assert_eq!(loader.next().unwrap().unwrap(), data.batch(9, 0).unwrap());
    drop(loader);
    drop(Loader::start(Arc::clone(&data), 9, 0..1_000_000, 3, 4));
    assert_eq!(Arc::strong_count(&data), 1);
}

#[test]
fn what_the_cache_gives_is_what_was_computed() {
    let cache = tempfile::tempdir().unwrap();
    let with_noise = NoiseConfig { source: NoiseSource::White { level_dbfs: -40.0 }, snr_db: None };
    for noise in [None, Some(with_noise)] {
        let config = DataConfig { noise, ..config(Draw::Distinct) };
        let (plain, _) = prepare(&voices(), &config, None);
        let (missed, first) = prepare(&voices(), &config, Some(cache.path()));
        let (hit, second) = prepare(&voices(), &config, Some(cache.path()));
        assert_eq!((first.from_cache, second.from_cache, first.uncached), (0, 12, 0));
        assert_eq!(plain.statistics(), hit.statistics());
        assert_eq!(batches(&plain), batches(&missed));
        assert_eq!(batches(&plain), batches(&hit));
        // No room in memory: read when drawn, from the cache or, without one, from the source.
        let narrow = DataConfig { memory_mib: 0, ..config };
        for cache in [Some(cache.path()), None] {
            let (on_demand, report) = prepare(&voices(), &narrow, cache);
            assert_eq!((report.on_demand, report.resident_bytes), (12, 0));
            assert_eq!(batches(&plain), batches(&on_demand));
        }
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder).expect("a test's own files and settings") {
        let path = item.expect("a test's own files and settings").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn a_damaged_cache_file_is_prepared_again() {
    let cache = tempfile::tempdir().unwrap();
    let (plain, _) = prepare(&voices(), &config(Draw::Distinct), Some(cache.path()));
    let files = files_below(cache.path());
    assert_eq!(files.len(), 12);
    let mut bytes = fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&files[0], &bytes).unwrap();
    fs::write(&files[1], b"").unwrap();
    let (again, report) = prepare(&voices(), &config(Draw::Distinct), Some(cache.path()));
    assert_eq!(report.from_cache, 10);
    assert_eq!(batches(&plain), batches(&again));
    let (_, mended) = prepare(&voices(), &config(Draw::Distinct), Some(cache.path()));
    assert_eq!(mended.from_cache, 12);
}

#[test]
fn a_changed_recording_is_prepared_again_and_a_cache_that_cannot_be_written_is_done_without() {
    let (folder, manifest) = folder(6, 3);
    let cache = tempfile::tempdir().unwrap();
    prepare(&manifest, &config(Draw::Distinct), Some(cache.path()));
    let wave = Waveform::new(vec![0.25; 9_000], 8_000).unwrap();
    fs::write(folder.path().join("000.wav"), wave.to_wav()).unwrap();
    let (_, report) = prepare(&manifest, &config(Draw::Distinct), Some(cache.path()));
    assert_eq!((report.from_cache, report.recordings), (5, 6));

    // All 256 folders of the cache are files: nothing can be stored.
    let blocked = tempfile::tempdir().unwrap();
    for number in 0..256 {
        fs::write(blocked.path().join(format!("{number:02x}")), b"").unwrap();
    }
    let (data, report) = prepare(&manifest, &config(Draw::Distinct), Some(blocked.path()));
    assert_eq!(report.uncached, 6);
    assert!(report.cache_error.unwrap().contains(&blocked.path().display().to_string()));
    data.batch(1, 1).unwrap();
    let file = blocked.path().join("00");
    let result =
        TrainingData::prepare(&manifest, &config(Draw::Distinct), &FrontEnd::ge2e_tf(), Some(&file), &|_, _| {});
    assert!(matches!(result, Err(TrainError::Write { .. })));
}

#[test]
fn one_bad_file_in_a_hundred_is_skipped_and_named_two_end_the_run() {
    let (folder, manifest) = folder(100, 5);
    fs::write(folder.path().join("017.wav"), b"no recording").unwrap();
    let (_, report) = prepare(&manifest, &config(Draw::Distinct), None);
    assert_eq!((report.skipped.len(), report.pieces), (1, 99));
    assert_eq!(report.skipped[0].recording, "017.wav");
    fs::remove_file(folder.path().join("018.wav")).unwrap();
    match refusal(&manifest, &config(Draw::Distinct)) {
        DataError::TooManySkipped { skipped: 2, recordings: 100, first } => {
            assert!(first[0].contains("017.wav") && first[1].contains("018.wav"), "{first:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn speakers_without_enough_recordings_are_named_and_too_few_end_the_run() {
    let (_folder, mut manifest) = folder(9, 4);
    manifest.entries[3].speaker = "lonely".into();
    // s0: 0, 4, 8; s1: 1, 5; s2: 2, 6; s3: 7; lonely: 3.
    let (data, report) = prepare(&manifest, &config(Draw::Distinct), None);
    assert_eq!((report.classes, report.dropped), (3, vec!["lonely".to_owned(), "s3".to_owned()]));
    assert_eq!(data.classes(), ["s0", "s1", "s2"]);
    let mut more = config(Draw::Distinct);
    more.sampler.speakers = 4;
    let error = refusal(&manifest, &more);
    assert!(matches!(&error, DataError::TooFewClasses { have: 3, need: 4, dropped: 2, .. }), "{error}");
    assert!(error.to_string().contains("lonely, s3"), "{error}");
    assert!(matches!(refusal(&Manifest::default(), &more), DataError::TooFewClasses { have: 0, .. }));
}

#[test]
fn short_pieces_are_repeated_from_their_start_and_counted() {
    let (_folder, manifest) = folder(6, 3);
    let mut long = config(Draw::Distinct);
    // 1 s has 101 frames.
    long.crop = CropConfig { frames: [250, 250], from: TakeFrom::Random, edges: CropEdges::Recording };
    let (data, report) = prepare(&manifest, &long, None);
    assert_eq!(report.short_pieces, 6);
    let batch = data.batch(1, 1).unwrap();
    assert_eq!(batch.repeated, 6);
    for row in batch.features.chunks(250 * 40) {
        let frames: Vec<&[f32]> = row.chunks(40).collect();
        assert!((101..250).all(|frame| frames[frame] == frames[frame - 101]));
        assert_ne!(frames[0], frames[1]);
    }
}

#[test]
fn waves_without_loud_noise_give_the_features_that_were_cached() {
    // Noise at -200 dBFS moves no sample above it: what is computed from waves at batch time is what is kept as features.
    let silent = NoiseConfig { source: NoiseSource::White { level_dbfs: -200.0 }, snr_db: None };
    let (features, _) = prepare(&voices(), &config(Draw::Distinct), None);
    let (waves, _) = prepare(&voices(), &DataConfig { noise: Some(silent), ..config(Draw::Distinct) }, None);
    for (one, other) in batches(&features).iter().zip(&batches(&waves)) {
        let largest = one.features.iter().zip(&other.features).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-6, "{largest}");
        assert_eq!(one.pieces, other.pieces);
    }
    assert_eq!(features.statistics(), waves.statistics());
}

#[test]
fn the_feature_offset_is_constant_over_a_row_and_moves_no_other_draw() {
    let coloured =
        DataConfig { feature_offset: Some(FeatureOffsetConfig { deviation: 0.5 }), ..config(Draw::Distinct) };
    let (plain, _) = prepare(&voices(), &config(Draw::Distinct), None);
    let (coloured, _) = prepare(&voices(), &coloured, None);
    let (one, other) = (plain.batch(9, 0).unwrap(), coloured.batch(9, 0).unwrap());
    assert_eq!((&one.pieces, one.frames), (&other.pieces, other.frames));
    assert_ne!(bits(&one), bits(&other));
    let size = one.frames * one.bins;
    for (one, other) in one.features.chunks(size).zip(other.features.chunks(size)) {
        let offset = |frame: usize, band: usize| other[frame * 40 + band] - one[frame * 40 + band];
        for band in 0..40 {
            assert!((offset(0, band) - offset(30, band)).abs() < 1e-5);
            assert!(offset(0, band).abs() < 6.0 * 0.5 * plain.statistics().deviation[band] as f32);
        }
    }
}

#[test]
fn copies_stand_beside_their_originals_with_the_same_classes_and_places() {
    let gain =
        AugmentConfig { gain: Some(augment::Gain { probability: 1.0, db: [6.0, 6.0] }), ..AugmentConfig::default() };
    let copy = |effects| AugmentationConfig { effects, noise_folders: vec![], impulse_response_folders: vec![] };
    let mut with_copies = config(Draw::Shuffled);
    with_copies.sampler.utterances = 1;
    let (plain, _) = prepare(&voices(), &with_copies, None);
    with_copies.copies = vec![copy(gain), copy(AugmentConfig::default())];
    assert_eq!(with_copies.rows(), 9);
    let (data, _) = prepare(&voices(), &with_copies, None);
    for (one, alone) in batches(&data).iter().zip(&batches(&plain)) {
        assert_eq!((one.rows, alone.rows, one.frames), (9, 3, alone.frames));
        assert_eq!((&one.classes[3..6], &one.pieces[6..9]), (&*alone.classes, &*alone.pieces));
        let parts: Vec<&[f32]> = one.features.chunks(3 * one.frames * one.bins).collect();
        // Features are log10 energies: 6 dB are 0.6 of them where speech is far above the offset under the logarithm.
        let louder = parts[1].iter().zip(parts[0]).map(|(copy, original)| f64::from(copy - original));
        let most = louder.fold(0.0, f64::max);
        assert!((most - 0.6).abs() < 0.01, "{most}");
        for (original, kept) in parts[0].iter().zip(parts[2]).chain(parts[0].iter().zip(&alone.features)) {
            assert!((original - kept).abs() < 1e-4, "{original} and {kept}");
        }
    }
}

#[test]
fn shuffled_recordings_come_once_an_epoch_for_each_chunk_that_they_have() {
    let (_folder, manifest) = folder(6, 3);
    let mut chunks = config(Draw::Shuffled);
    chunks.sampler = SamplerConfig { speakers: 2, utterances: 1, once_per_frames: Some(45), ..chunks.sampler };
    // Six recordings of 101 frames are two chunks of 45 each: an epoch has 12 rows, in six batches.
    let (data, _) = prepare(&manifest, &chunks, None);
    let mut times = BTreeMap::new();
    for step in 0..6 {
        for id in data.batch(9, step).unwrap().pieces {
            *times.entry(id.recording).or_insert(0) += 1;
        }
    }
    assert_eq!(times.values().copied().collect::<Vec<_>>(), [2; 6]);
    chunks.sampler.once_per_frames = Some(102);
    assert!(matches!(refusal(&manifest, &chunks), DataError::TooFewClasses { what: "recordings", have: 0, .. }));
    chunks.sampler.draw = Draw::Distinct;
    assert!(matches!(refusal(&manifest, &chunks), DataError::Setting { name: "sampler.once_per_frames", .. }));
}

#[test]
fn a_row_that_is_cut_out_has_the_features_of_a_recording_of_its_length() {
    let mut cut = config(Draw::Distinct);
    cut.crop = CropConfig { frames: [40, 40], from: TakeFrom::Start, edges: CropEdges::Cut };
    let mut front_end = FrontEnd::ge2e_tf();
    front_end.cmn = Some(sv_audio::frontend::Cmn::Utterance);
    let (data, _) = TrainingData::prepare(&voices(), &cut, &front_end, None, &|_, _| {}).unwrap();
    let extractor = FeatureExtractor::new(&front_end).unwrap();
    let batch = data.batch(9, 0).unwrap();
    for (row, piece) in batch.features.chunks(40 * 40).zip(&batch.pieces) {
        let Recording::Synthetic { corpus, seed, speaker, utterance } =
            voices().entries[piece.recording as usize].recording
        else {
            panic!("voices are synthetic")
        };
        let wave = extractor.prepare(&Speaker::draw(seed, corpus, speaker).utterance(utterance)).unwrap();
        // 40 centred frames of 80 samples take 39 x 80.
        let recording = Waveform::new(wave.samples()[..39 * 80].to_vec(), 8_000).unwrap();
        let features = extractor.features(&recording).unwrap();
        let largest = features.view().iter().zip(row).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(features.frames() == 40 && largest < 1e-6, "{largest}");
    }
    // Longer than the recording: its samples again from the start.
    cut.crop.frames = [500, 500];
    let (data, report) = TrainingData::prepare(&voices(), &cut, &front_end, None, &|_, _| {}).unwrap();
    assert_eq!(report.short_pieces, 12);
    let batch = data.batch(9, 0).unwrap();
    assert!(batch.features.iter().all(|value| value.is_finite()));
}

fn augmented(effects: AugmentConfig, draw: Draw) -> DataConfig {
    let augmentation = AugmentationConfig { effects, noise_folders: vec![], impulse_response_folders: vec![] };
    DataConfig { augmentation: Some(augmentation), ..config(draw) }
}

#[test]
fn augmentation_without_effects_moves_no_bit_wherever_crops_lie() {
    for from in [TakeFrom::Start, TakeFrom::Random, TakeFrom::End] {
        let crop = CropConfig { frames: [50, 130], from, edges: CropEdges::Recording };
        let (plain, _) = prepare(&voices(), &DataConfig { crop: crop.clone(), ..config(Draw::Crops) }, None);
        let nothing = DataConfig { crop, ..augmented(AugmentConfig::default(), Draw::Crops) };
        let (nothing, _) = prepare(&voices(), &nothing, None);
        assert_eq!(batches(&plain), batches(&nothing), "{from:?}");
    }
}

#[test]
fn augmented_rows_are_the_same_on_any_worker_and_differ_from_step_to_step() {
    let (folder, _) = folder(2, 1);
    let effects = AugmentConfig {
        speed: Some(augment::Speed { probability: 0.5, factors: vec![0.9, 1.1] }),
        reverberation: Some(augment::Reverberation { probability: 0.5, decay_s: [0.1, 0.4], direct_db: [3.0, 9.0] }),
        noise: Some(augment::Noise { probability: 0.5, snr_db: [5.0, 20.0] }),
        equaliser: Some(augment::Equaliser { probability: 0.5, peaks: 3, peak_db: 6.0, tilt_db: 3.0 }),
        codec: Some(augment::Codec { probability: 0.5 }),
        ..AugmentConfig::default()
    };
    let mut config = augmented(effects, Draw::Distinct);
    if let Some(augmentation) = &mut config.augmentation {
        augmentation.noise_folders.push(folder.path().to_owned());
    }
    let (plain, _) = prepare(&voices(), &self::config(Draw::Distinct), None);
    let (data, _) = prepare(&voices(), &config, None);
    let data = Arc::new(data);
    let expected = batches(&data);
    let loaded: Vec<Batch> = Loader::start(Arc::clone(&data), 9, 0..4, 3, 4).map(Result::unwrap).collect();
    assert_eq!(loaded, expected);
    for (one, other) in batches(&plain).iter().zip(&expected) {
        assert_eq!((&one.pieces, one.frames, other.repeated), (&other.pieces, other.frames, 0));
        assert_ne!(bits(one), bits(other));
        assert!(other.features.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn speech_made_faster_is_taken_from_more_of_the_piece() {
    let speed = Some(augment::Speed { probability: 1.0, factors: vec![2.0] });
    for from in [TakeFrom::Start, TakeFrom::Random, TakeFrom::End] {
        // A piece of 121 frames gives 60 at twice the speed.
        for (frames, repeated) in [(40, 0), (60, 0), (61, 6)] {
            let effects = AugmentConfig { speed: speed.clone(), ..AugmentConfig::default() };
            let crop = CropConfig { frames: [frames, frames], from, edges: CropEdges::Recording };
            let (data, _) = prepare(&voices(), &DataConfig { crop, ..augmented(effects, Draw::Distinct) }, None);
            assert_eq!(data.batch(9, 0).unwrap().repeated, repeated, "{frames} {from:?}");
        }
    }
}

#[test]
fn augmentation_that_lacks_its_recordings_is_an_error_before_anything_is_read() {
    let noise = Some(augment::Noise { probability: 0.5, snr_db: [5.0, 20.0] });
    let effects = AugmentConfig { noise, ..AugmentConfig::default() };
    let error = refusal(&voices(), &augmented(effects, Draw::Distinct));
    assert!(matches!(&error, DataError::Audio { what, .. } if what == "augmentation"), "{error}");
    assert!(error.to_string().contains("augmentation.noise"), "{error}");
}

#[test]
fn recordings_that_hold_nothing_are_counted_and_no_error() {
    let (folder, manifest) = folder(7, 3);
    let wave = Waveform::new(vec![0.1; 100], 8_000).unwrap();
    fs::write(folder.path().join("006.wav"), wave.to_wav()).unwrap();
    let (_, report) = prepare(&manifest, &config(Draw::Distinct), None);
    assert_eq!((report.without_piece, report.skipped.len(), report.pieces), (1, 0, 6));
}

#[test]
fn phrases_are_classes_of_their_own_and_must_be_known() {
    let (_folder, mut manifest) = folder(12, 3);
    let mut phrases = config(Draw::Distinct);
    phrases.classes = Classes::SpeakerAndPhrase;
    phrases.sampler.speakers = 2;
    assert!(matches!(refusal(&manifest, &phrases), DataError::NoPhrase { recording } if recording == "000.wav"));
    for (number, entry) in manifest.entries.iter_mut().enumerate() {
        entry.phrase = Some(if number < 6 { "A" } else { "B" }.to_owned());
    }
    phrases.sampler.phrases_together = true;
    let (data, report) = prepare(&manifest, &phrases, None);
    assert_eq!((report.classes, data.classes()[0].as_str()), (6, "s0\tA"));
    for step in 0..20 {
        let batch = data.batch(1, step).unwrap();
        let names: Vec<&str> = batch.classes.iter().map(|&class| &*data.classes()[class as usize]).collect();
        assert!(names[0][..2] == names[2][..2] && names[0] != names[2], "{names:?}");
    }
}

#[test]
fn impossible_settings_are_named() {
    let manifest = voices();
    let base = config(Draw::Distinct);
    let offset = |deviation| Some(FeatureOffsetConfig { deviation });
    let noise = |level_dbfs, snr_db| Some(NoiseConfig { source: NoiseSource::White { level_dbfs }, snr_db });
    let sampler = |speakers, utterances, phrases_together| SamplerConfig {
        speakers,
        utterances,
        draw: Draw::Distinct,
        phrases_together,
        once_per_frames: None,
        least_recordings: None,
    };
    let crop = |frames| CropConfig { frames, from: TakeFrom::Start, edges: CropEdges::Recording };
    let split = |top_db, frames| PreparationConfig::Split { top_db, frames };
    for (bad, name) in [
        (DataConfig { sampler: sampler(0, 1, false), ..base.clone() }, "sampler.speakers"),
        (DataConfig { sampler: sampler(usize::MAX, 9, false), ..base.clone() }, "sampler.speakers"),
        (DataConfig { sampler: sampler(2, 2, true), ..base.clone() }, "sampler.phrases_together"),
        (
            DataConfig { sampler: sampler(3, 2, true), classes: Classes::SpeakerAndPhrase, ..base.clone() },
            "sampler.speakers",
        ),
        (DataConfig { crop: crop([60, 50]), ..base.clone() }, "crop.frames"),
        (DataConfig { crop: crop([0, 50]), ..base.clone() }, "crop.frames"),
        (DataConfig { crop: crop([50, usize::MAX]), ..base.clone() }, "crop.frames"),
        (DataConfig { preparation: split(f64::NAN, 180), ..base.clone() }, "preparation.top_db or trim_db"),
        (DataConfig { preparation: split(20.0, 0), ..base.clone() }, "preparation.frames or least_frames"),
        (DataConfig { feature_offset: offset(-1.0), ..base.clone() }, "feature_offset.deviation"),
        (DataConfig { noise: noise(3.0, None), ..base.clone() }, "noise.source.level_dbfs"),
        (DataConfig { noise: noise(-3.0, Some([9.0, f64::NAN])), ..base.clone() }, "noise.snr_db"),
    ] {
        let error = refusal(&manifest, &bad);
        assert!(matches!(&error, DataError::Setting { name: found, .. } if *found == name), "{name}: {error}");
    }
}

#[test]
fn a_source_that_is_gone_or_another_when_it_is_read_again_is_an_error_at_its_step() {
    let (folder, manifest) = folder(6, 3);
    let mut narrow = config(Draw::Distinct);
    narrow.memory_mib = 0;
    let (data, _) = prepare(&manifest, &narrow, None);
    let wave = Waveform::new(vec![0.25; 9_000], 8_000).unwrap();
    for number in 0..6 {
        fs::write(folder.path().join(format!("{number:03}.wav")), wave.to_wav()).unwrap();
    }
    assert!(matches!(data.batch(1, 1), Err(TrainError::Data(DataError::Changed { .. }))));
    for number in 0..6 {
        fs::remove_file(folder.path().join(format!("{number:03}.wav"))).unwrap();
    }
    let mut loader = Loader::start(Arc::new(data), 1, 0..2, 2, 2);
    for _ in 0..2 {
        assert!(matches!(loader.next(), Some(Err(TrainError::Data(DataError::Audio { .. })))));
    }
    assert!(loader.next().is_none());
}

#[test]
fn the_real_corpus_is_listed_and_prepared_as_its_readme_counts() {
    let Some(root) = data_dir() else { return };
    let manifest = Manifest::read(&root.join("manifest.tsv"), &root).unwrap();
    assert_eq!((manifest.entries.len(), manifest.speakers().len()), (4_701, 541));
    let selection = Selection { corpora: vec!["speechocean762".into()], splits: vec!["train".into()] };
    let train = manifest.select(&selection).unwrap();
    assert_eq!((train.entries.len(), train.speakers().len()), (2_500, 125));
    // Four recordings of each speaker: enough to see the counts without decoding two hours.
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut few = train.clone();
    few.entries.retain(|entry| {
        let count = counts.entry(entry.speaker.clone()).or_default();
        *count += 1;
        *count <= 4
    });
    let mut config = config(Draw::Distinct);
    config.sampler = SamplerConfig {
        speakers: 64,
        utterances: 4,
        draw: Draw::Distinct,
        phrases_together: false,
        once_per_frames: None,
        least_recordings: None,
    };
    let (data, report) = prepare(&few, &config, None);
    assert_eq!((report.recordings, report.classes, report.skipped.len()), (500, 125, 0));
    let batch = data.batch(1, 1).unwrap();
    assert_eq!((batch.rows, batch.classes.iter().collect::<BTreeSet<_>>().len()), (256, 64));
    assert!(batch.features.iter().all(|value| value.is_finite() && *value >= -6.0 && *value < 6.0));

    // The TensorFlow rules on the same recordings: pieces of 180 frames, and of 80.
    for (rule, frames) in [
        (PreparationConfig::Split { top_db: 20.0, frames: 180 }, 180),
        (PreparationConfig::LastFrames { trim_db: Some(14.0), frames: 80 }, 80),
    ] {
        config.preparation = rule;
        config.sampler = SamplerConfig {
            speakers: 4,
            utterances: 5,
            draw: Draw::WithReplacement,
            phrases_together: false,
            once_per_frames: None,
            least_recordings: None,
        };
        config.crop = CropConfig { frames: [frames, frames], from: TakeFrom::Start, edges: CropEdges::Recording };
        let (data, report) = prepare(&few, &config, None);
        assert_eq!(report.frames, report.pieces as u64 * frames as u64);
        assert!(report.pieces > 0 && report.without_piece < 500, "{report:?}");
        assert_eq!(data.batch(1, 1).unwrap().repeated, 0);
    }
}
