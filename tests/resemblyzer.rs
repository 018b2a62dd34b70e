//! Resemblyzer's checkpoint through our pipeline, stage by stage, against Resemblyzer 0.1.4.
#![forbid(unsafe_code)]

use common::data::{Tensors, difference, reference_dir};
use speaker_verification::SpeakerRecognition;
use speaker_verification::audio::Waveform;
use speaker_verification::audio::frontend::FeatureExtractor;
use speaker_verification::metrics::score;
use speaker_verification::models::{ModelDir, Plan};

#[test]
fn embeddings_of_its_preprocessed_waves_agree_to_1e_5() {
    let Some(reference) = reference_dir() else { return };
    let expected = Tensors::read(&reference.join("resemblyzer.safetensors"));
    let model = ModelDir::load(&reference.join("resemblyzer_pretrained.pt")).unwrap();
    let description = model.description();
    let extractor = FeatureExtractor::new(&description.front_end).unwrap();
    let plan = Plan::new(&description.encoder, model.weights()).unwrap();
    let mut compared = 0;
    for name in expected.names() {
        let Some(name) = name.strip_suffix(".preprocessed") else { continue };
        let wave = Waveform::new(expected.get(&format!("{name}.preprocessed")).f32(), 16_000).unwrap();
        let (features, windows) = extractor.pieces(&wave, &description.windows).unwrap();
        let pieces: Vec<_> = windows.cut(&features).unwrap().collect();
        let partials = plan.embed(&pieces.iter().map(|piece| piece.view()).collect::<Vec<_>>()).unwrap();
        let partials_expected = expected.get(&format!("{name}.partials"));
        assert_eq!(partials_expected.shape, [partials.nrows(), 256], "{name}: number of partial utterances");
        let (absolute, _) = difference(partials.as_slice().unwrap(), &partials_expected.data);
        assert!(absolute <= 3.0 * 2.39e-7, "{name}: partials differ by {absolute:e}");
        let embedding = plan.join(partials.view());
        let (absolute, _) = difference(&embedding, &expected.get(&format!("{name}.embedding")).data);
        eprintln!("{name}: embedding differs by {absolute:e}");
        assert!(absolute <= 3.0 * 2.13e-7, "{name}: embedding differs by {absolute:e}");
        compared += 1;
    }
    assert!(compared == 4, "{compared} waves compared");
}

#[test]
fn embeddings_of_raw_waves_have_a_cosine_above_0_999() {
    let Some(reference) = reference_dir() else { return };
    let waves = Tensors::read(&reference.join("waves.safetensors"));
    let expected = Tensors::read(&reference.join("resemblyzer.safetensors"));
    let model = SpeakerRecognition::load(reference.join("resemblyzer_pretrained.pt")).unwrap();
    let mut compared = 0;
    for name in expected.names() {
        let Some(name) = name.strip_suffix(".embedding") else { continue };
        let wave = Waveform::new(waves.get(name).f32(), 16_000).unwrap();
        let found = model.embed(&wave).unwrap();
        let cosine =
            score::cosine(found.embedding.values(), &expected.get(&format!("{name}.embedding")).f32()).unwrap();
        eprintln!("{name}: cosine {cosine:.7}");
        assert!(cosine > 0.999, "{name}: cosine {cosine}");
        compared += 1;
    }
    assert!(compared == 4, "{compared} waves compared");
}
