//! What is planned allocates nothing per frame.

use ndarray::Array2;
use sv_audio::Waveform;
use sv_audio::frontend::{FeatureExtractor, FrontEnd};
use sv_audio::resample::{ResamplePlan, Resampler};
use sv_audio::vad::VadChoice;
use sv_models::encoders::ecapa::EcapaConfig;
use sv_models::encoders::lstm::LstmConfig;
use sv_models::encoders::resnet::ResNetConfig;
use sv_models::encoders::xvector::XVectorConfig;
use sv_models::weights::{Weight, Weights};
use sv_models::{EncoderConfig, Plan};

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

/// The networks as they are published, narrow: what is allocated does not depend on widths.
fn networks() -> Vec<EncoderConfig> {
    let ecapa = EcapaConfig { channels: 32, mfa: 96, attention: 8, squeeze: 8, size: 12, ..EcapaConfig::speechbrain() };
    let xvector = XVectorConfig { channels: [16, 16, 16, 16, 24].to_vec(), ..XVectorConfig::speechbrain() };
    let resnet = ResNetConfig { channels: 4, ..ResNetConfig::resnet34() };
    let lstm = LstmConfig { hidden: 16, projection: Some(8), ..LstmConfig::ge2e_tf() };
    vec![
        EncoderConfig::Ecapa(ecapa),
        EncoderConfig::XVector(xvector),
        EncoderConfig::ResNet(resnet),
        EncoderConfig::Lstm(lstm),
    ]
}

#[test]
fn a_plan_that_has_run_once_allocates_its_answer_alone() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for config in networks() {
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let count = shape.iter().product();
            let value = if name.ends_with("running_var") { 1.0 } else { 0.01 };
            (name, Weight { shape, values: vec![value; count] })
        };
        let tensors = config.tensors().into_iter().map(tensor).collect();
        let weights = Weights::new("made", &config, tensors).expect("all tensors");
        let plan = Plan::new(&config, &weights).expect("a plan");
        let features = |frames: usize| {
            Array2::from_shape_fn((frames, config.bins()), |(t, f)| ((t * 7 + f * 3) % 11) as f32 * 0.1)
        };
        let (long, short) = (features(300), features(120));
        // On one thread, which is the one that is counted.
        let counts = pool.install(|| {
            plan.embed(&[long.view()]).expect("an embedding");
            [&short, &long, &short].map(|features| allocations(|| plan.embed(&[features.view()])))
        });
        eprintln!("{}: {counts:?} allocations", config.name());
        assert!(counts.iter().all(|&count| count <= 1), "{}: {counts:?}", config.name());
    }
}
