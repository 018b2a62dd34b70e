//! Whole trial lists of real speech: the error rates of Resemblyzer's checkpoint against those of its own system.
#![forbid(unsafe_code)]

use common::data::{data_dir, reference_dir};
use speaker_verification::SpeakerRecognition;
use speaker_verification::metrics::{TrialFormat, Trials};

#[test]
fn resemblyzers_checkpoint_reaches_its_own_error_rates_on_every_list() {
    let (Some(data), Some(reference)) = (data_dir(), reference_dir()) else { return };
    let baselines: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(data.join("baselines.json")).unwrap()).unwrap();
    let model = SpeakerRecognition::load(reference.join("resemblyzer_pretrained.pt")).unwrap();
    let mut lists = 0;
    for (name, row) in baselines["lists"].as_object().unwrap() {
        let Some(expected) = row["resemblyzer"]["eer"].as_f64() else { continue };
        let text = std::fs::read_to_string(data.join(format!("trials/{name}.txt"))).unwrap();
        let trials = Trials::parse(&text, TrialFormat::VoxCeleb).unwrap();
        let found = model.evaluate(&trials, &data, |_| ()).unwrap();
        assert!(found.failures.is_empty(), "{name}: {:?}", found.failures);
        let got = 100.0 * found.eer.rate;
        eprintln!("{name}: {got:.2} %, Resemblyzer's own {expected:.2} %");
        assert!((got - expected).abs() <= 0.5, "{name}: {got:.2} % against {expected:.2} %");
        lists += 1;
    }
    assert_eq!(lists, 14, "lists with a Resemblyzer row");
}
