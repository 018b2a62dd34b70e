//! What is planned allocates nothing per frame.

use sv_audio::Waveform;
use sv_audio::frontend::{FeatureExtractor, FrontEnd};
use sv_audio::resample::{ResamplePlan, Resampler};
use sv_audio::vad::VadChoice;

/// A tenth of full scale, at `rate_hz`.
fn wave(seconds: usize, rate_hz: u32) -> Waveform {
    let samples = (0..seconds * rate_hz as usize).map(|n| 0.1 * (0.3 * n as f32).sin()).collect();
    Waveform::new(samples, rate_hz).expect("finite samples")
}

fn allocations<T>(run: impl FnOnce() -> T) -> u64 {
    allocation_counter::measure(|| drop(run())).count_total
}

#[test]
fn features_of_sixty_seconds_take_as_many_allocations_as_of_four() {
    for name in FrontEnd::names() {
        let front_end = FrontEnd::by_name(name).expect("a known name");
        let extractor = FeatureExtractor::new(&front_end).expect("a preset");
        // The shorter one is longer than a sliding window of 3 s, too.
        let (short, long) = (wave(4, front_end.rate_hz), wave(60, front_end.rate_hz));
        let (few, many) = (allocations(|| extractor.features(&short)), allocations(|| extractor.features(&long)));
        eprintln!("{name}: {few} allocations for 400 frames, {many} for 6000");
        assert_eq!(few, many, "{name}");
        assert!(few <= 12, "{name}: {few} allocations");
    }
}

#[test]
fn from_any_rate_to_features_the_number_of_allocations_does_not_grow_with_length() {
    let mut front_end = FrontEnd::resemblyzer();
    front_end.vad = VadChoice::None;
    let extractor = FeatureExtractor::new(&front_end).expect("a preset");
    let (short, long) = (wave(1, 44_100), wave(30, 44_100));
    extractor.extract(&short).expect("long enough"); // plans the resampling
    assert_eq!(allocations(|| extractor.extract(&short)), allocations(|| extractor.extract(&long)));
}

#[test]
fn a_planned_resampler_allocates_its_output_alone() {
    let plan = ResamplePlan::new(44_100, 16_000, Resampler::Sharp).expect("rates in range");
    let long = wave(10, 44_100);
    assert_eq!(allocations(|| plan.process(long.samples())), 1);
}
