//! ECAPA-TDNN, x-vector and ResNet against the systems that define them: layers, embeddings, classes.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use common::data::{Tensors, difference, reference_dir};
use ndarray::{Array2, Array3};
use speaker_verification::SpeakerRecognition;
use sv_audio::Waveform;
use sv_audio::frontend::FeatureExtractor;
use sv_kernels::Tier;
use sv_kernels::ops::composed_only;
use sv_models::{ModelDir, ModelError, Plan, reference};

/// A published network at a small size: its checkpoint, its reference values, and the group of its embedding's tolerance.
struct Case {
    name: &'static str,
    checkpoint: &'static str,
    embedding: &'static str,
}

const CASES: [Case; 5] = [
    Case { name: "ecapa_tiny", checkpoint: "ecapa_tiny", embedding: "eval.embedding" },
    Case { name: "xvector_tiny", checkpoint: "xvector_tiny", embedding: "eval.embedding" },
    Case { name: "wespeaker_resnet34_tiny", checkpoint: "wespeaker_resnet34_tiny", embedding: "embedding" },
    Case { name: "wespeaker_ecapa_tiny", checkpoint: "wespeaker_ecapa_tiny", embedding: "embedding" },
    Case { name: "taoruijie_ecapa_tiny", checkpoint: "taoruijie_ecapa_tiny.model", embedding: "embedding" },
];

const WAVES: [&str; 3] = ["speech3", "chirp17", "short035"];

/// The relative tolerances of `tolerances.json`, by file and group.
struct Tolerances(serde_json::Value);

impl Tolerances {
    fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("tolerances.json")).unwrap();
        Self(serde_json::from_str(&text).unwrap())
    }

    /// Three times the difference between f32 and f64 there.
    fn of(&self, file: &str, group: &str) -> f64 {
        3.0 * self.0[file][group]["rel"].as_f64().unwrap_or_else(|| panic!("{file} has no {group}"))
    }
}

fn load(folder: &Path, case: &Case) -> (ModelDir, Tensors) {
    let model = ModelDir::load(&folder.join(case.checkpoint)).unwrap();
    (model, Tensors::read(&folder.join(format!("{}.safetensors", case.name))))
}

/// A matrix of the reference.
fn matrix(values: &Tensors, name: &str) -> Array2<f32> {
    let tensor = values.get(name);
    Array2::from_shape_vec((tensor.shape[0], tensor.shape[1]), tensor.f32()).unwrap()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn relative(got: &[f64], expected: &[f64]) -> f64 {
    let got: Vec<f32> = got.iter().map(|&value| value as f32).collect();
    difference(&got, expected).1
}

#[test]
fn every_plain_definition_equals_its_reference_on_every_wave() {
    let Some(folder) = reference_dir() else { return };
    let tolerances = Tolerances::read(&folder);
    for case in &CASES {
        let (model, values) = load(&folder, case);
        let tolerance = tolerances.of(case.name, case.embedding);
        for wave in WAVES {
            let features = matrix(&values, &format!("{wave}.features"));
            let expected = values.get(&format!("{wave}.embedding")).data;
            let got = reference::embed(&model.description().encoder, model.weights(), features.view()).unwrap();
            let (error, cosine) = (relative(&got, &expected), cosine(&got, &expected));
            println!("{} {wave}: {error:.2e} of {tolerance:.2e}, 1 - cosine {:.1e}", case.name, 1.0 - cosine);
            assert!(error <= tolerance, "{} {wave}: {error:.2e}, allowed {tolerance:.2e}", case.name);
            assert!(cosine > 0.999_999, "{} {wave}: cosine {cosine}", case.name);
        }
    }
}

/// Our name of a layer for one of the reference's, and the group of its tolerance.
fn layer(case: &str, theirs: &str) -> Option<(String, &'static str)> {
    let blocks = |first: usize, number: &str| number.parse::<usize>().ok()?.checked_sub(first);
    let found = |name: &str, group| Some((name.to_owned(), group));
    match (case, theirs) {
        ("ecapa_tiny", "blocks.0") => found("stem", "eval.blocks"),
        ("ecapa_tiny", "mfa") => found("mfa", "eval.mfa"),
        ("ecapa_tiny", "asp") => found("pool", "eval.asp"),
        ("ecapa_tiny", "asp_bn") => found("pool.norm", "eval.asp_bn"),
        ("ecapa_tiny", "fc") => found("embedding", "eval.fc"),
        ("ecapa_tiny", _) => {
            let (number, rest) = theirs.strip_prefix("blocks.")?.split_once('.').unwrap_or((&theirs[7..], ""));
            let inner = match rest {
                "" => "",
                "tdnn1" => ".tdnn1",
                "res2net_block" => ".res2",
                "tdnn2" => ".tdnn2",
                "se_block" => ".se",
                _ => return None,
            };
            Some((format!("blocks.{}{inner}", blocks(1, number)?), "eval.blocks"))
        }
        ("xvector_tiny", _) => {
            // Convolution, activation and batch norm are modules of their own; ours is all three.
            let module = blocks(0, theirs.strip_prefix("blocks.")?)?;
            (module % 3 == 2).then(|| (format!("blocks.{}", module / 3), "eval.blocks"))
        }
        ("wespeaker_resnet34_tiny", "bn1") => found("stem.norm", "bn1"),
        ("wespeaker_resnet34_tiny", "layer1") => found("stages.0", "layer1"),
        ("wespeaker_resnet34_tiny", "layer2") => found("stages.1", "layer2"),
        ("wespeaker_resnet34_tiny", "layer2.0") => found("stages.1.0", "layer2"),
        ("wespeaker_resnet34_tiny", "layer3") => found("stages.2", "layer3"),
        ("wespeaker_resnet34_tiny", "layer4") => found("stages.3", "layer4"),
        ("wespeaker_resnet34_tiny" | "wespeaker_ecapa_tiny", "pool") => found("pool", "pool"),
        ("wespeaker_ecapa_tiny", "conv") => None,
        ("wespeaker_ecapa_tiny", "bn") => found("pool.norm", "bn"),
        ("wespeaker_ecapa_tiny", "layer1") => found("stem", "layer1"),
        ("wespeaker_ecapa_tiny", "layer2.se_res2block.0") => found("blocks.0.tdnn1", "layer2"),
        ("wespeaker_ecapa_tiny", "layer2.se_res2block.1") => found("blocks.0.res2", "layer2"),
        ("wespeaker_ecapa_tiny", "layer2.se_res2block.2") => found("blocks.0.tdnn2", "layer2"),
        ("wespeaker_ecapa_tiny", "layer2.se_res2block.3") => found("blocks.0.se", "layer2"),
        ("wespeaker_ecapa_tiny", "layer2") => found("blocks.0", "layer2"),
        ("wespeaker_ecapa_tiny", "layer3") => found("blocks.1", "layer3"),
        ("wespeaker_ecapa_tiny", "layer4") => found("blocks.2", "layer4"),
        ("taoruijie_ecapa_tiny", "layer1") => found("blocks.0", "embedding"),
        ("taoruijie_ecapa_tiny", "layer2") => found("blocks.1", "embedding"),
        ("taoruijie_ecapa_tiny", "layer3") => found("blocks.2", "embedding"),
        ("taoruijie_ecapa_tiny", "bn1") => found("stem", "embedding"),
        ("taoruijie_ecapa_tiny", "attention") => found("attention", "embedding"),
        ("taoruijie_ecapa_tiny", "bn5") => found("pool.norm", "embedding"),
        ("taoruijie_ecapa_tiny", "fc6") => found("embedding", "embedding"),
        _ => None,
    }
}

#[test]
fn layers_equal_the_reference() {
    let Some(folder) = reference_dir() else { return };
    let tolerances = Tolerances::read(&folder);
    for case in &CASES {
        let (model, values) = load(&folder, case);
        let mut compared = 0;
        for wave in WAVES {
            let mut taps = BTreeMap::new();
            let features = matrix(&values, &format!("{wave}.features"));
            let mut tap = |name: &str, values: &[f64]| drop(taps.insert(name.to_owned(), values.to_vec()));
            reference::embed_with(&model.description().encoder, model.weights(), features.view(), &mut tap).unwrap();
            for name in values.names() {
                let Some((ours, group)) =
                    name.strip_prefix(&format!("{wave}.")).and_then(|name| layer(case.name, name))
                else {
                    continue;
                };
                let expected = values.get(&name);
                // SpeechBrain's x-vector blocks are (T, C), all others (C, T).
                let turned = case.name == "xvector_tiny" && expected.shape.len() == 2;
                let expected = if turned {
                    let matrix = Array2::from_shape_vec((expected.shape[0], expected.shape[1]), expected.data).unwrap();
                    matrix.t().iter().copied().collect()
                } else {
                    expected.data
                };
                let error = relative(&taps[&ours], &expected);
                let tolerance = tolerances.of(case.name, group);
                assert!(error <= tolerance, "{} {name} ({ours}): {error:.2e}, allowed {tolerance:.2e}", case.name);
                compared += 1;
            }
        }
        // ECAPA-TDNNs: inside of one block at least; the x-vector and ResNet: every block or stage.
        assert!(compared >= 8, "{}: {compared} layers were compared", case.name);
        println!("{}: {compared} layers", case.name);
    }
}

#[test]
fn waves_become_the_embeddings_that_their_own_systems_give() {
    let Some(folder) = reference_dir() else { return };
    let waves = Tensors::read(&folder.join("waves.safetensors"));
    for case in &CASES {
        let (model, values) = load(&folder, case);
        let extractor = FeatureExtractor::new(&model.description().front_end).unwrap();
        let plan = Plan::new(&model.description().encoder, model.weights()).unwrap();
        for wave in WAVES {
            let samples = Waveform::new(waves.get(wave).f32(), 16_000).unwrap();
            let features = extractor.extract(&samples).unwrap();
            let got = plan.embed(&[features.view()]).unwrap();
            let got: Vec<f64> = got.iter().map(|&value| f64::from(value)).collect();
            let expected = values.get(&format!("{wave}.embedding")).data;
            let (error, cosine) = (relative(&got, &expected), cosine(&got, &expected));
            println!("{} {wave}, from samples: {error:.2e}, 1 - cosine {:.1e}", case.name, 1.0 - cosine);
            // The front ends differ by up to 1e-4 of their features, which the networks do not enlarge.
            assert!(error <= 1e-4 && cosine > 0.999_999, "{} {wave}: {error:.2e}, cosine {cosine}", case.name);
        }
    }
}

#[test]
fn plans_equal_the_plain_definition_and_the_reference_on_every_tier() {
    let Some(folder) = reference_dir() else { return };
    let tolerances = Tolerances::read(&folder);
    for case in &CASES {
        let (model, values) = load(&folder, case);
        let encoder = &model.description().encoder;
        let tolerance = tolerances.of(case.name, case.embedding);
        let windows: Vec<_> = WAVES.iter().map(|wave| matrix(&values, &format!("{wave}.features"))).collect();
        let views: Vec<_> = windows.iter().map(|window| window.view()).collect();
        for tier in Tier::available() {
            let plan = Plan::on_tier(tier, encoder, model.weights()).unwrap();
            let together = plan.embed(&views).unwrap();
            for ((row, view), wave) in together.outer_iter().zip(&views).zip(WAVES) {
                let row = row.as_slice().unwrap();
                let plain = reference::embed(encoder, model.weights(), *view).unwrap();
                let theirs = values.get(&format!("{wave}.embedding")).data;
                let errors = [difference(row, &plain).1, difference(row, &theirs).1];
                println!("{} {wave} on {tier:?}: {errors:.2?} of {tolerance:.2e}", case.name);
                assert!(errors.iter().all(|&error| error <= tolerance), "{} {wave}: {errors:.2?}", case.name);
                assert_eq!(row, plan.embed(&[*view]).unwrap().as_slice().unwrap(), "alone: the same bits");
            }
        }
    }
}

#[test]
fn rows_of_a_batch_have_the_embeddings_that_each_has_alone() {
    let Some(folder) = reference_dir() else { return };
    let tolerances = Tolerances::read(&folder);
    let mut compared = 0;
    for case in &CASES {
        let (model, values) = load(&folder, case);
        // SpeechBrain's rows are the three waves, of their own lengths; WeSpeaker's are two of equal length, in one tensor.
        let (features, expected): (Vec<_>, _) = match case.name {
            "ecapa_tiny" | "xvector_tiny" => (
                WAVES.iter().map(|wave| matrix(&values, &format!("{wave}.features"))).collect(),
                values.get("batch.embedding_alone"),
            ),
            "taoruijie_ecapa_tiny" => continue,
            _ => {
                let batch = values.get("batch.features");
                let rows = batch.f32().chunks(batch.shape[1] * batch.shape[2]).map(<[f32]>::to_vec).collect::<Vec<_>>();
                let row = |row| Array2::from_shape_vec((batch.shape[1], batch.shape[2]), row).unwrap();
                (rows.into_iter().map(row).collect(), values.get("batch.embedding"))
            }
        };
        for (row, features) in features.iter().enumerate() {
            let got = reference::embed(&model.description().encoder, model.weights(), features.view()).unwrap();
            let error = relative(&got, &expected.data[row * got.len()..][..got.len()]);
            assert!(error <= tolerances.of(case.name, case.embedding), "{} row {row}: {error:.2e}", case.name);
            compared += 1;
        }
    }
    assert_eq!(compared, 3 + 3 + 2 + 2);
}

#[test]
fn the_portable_path_which_a_gpu_runs_equals_every_reference() {
    let Some(folder) = reference_dir() else { return };
    let tolerances = Tolerances::read(&folder);
    for case in &CASES {
        let (model, values) = load(&folder, case);
        // Twice what plans are allowed: each batch norm is an operation of its own here, and rounds once more.
        let bound = 2.0 * tolerances.of(case.name, case.embedding);
        let plan = Plan::portable(&Device::Cpu, &model.description().encoder, model.weights()).unwrap();
        let features: Vec<_> = WAVES.iter().map(|wave| matrix(&values, &format!("{wave}.features"))).collect();
        // All in one call: lengths differ, and the second time two are alike.
        let mut views: Vec<_> = features.iter().map(|features| features.view()).collect();
        views.push(features[0].view());
        for composed in [false, true] {
            let embed = || plan.embed(&views).unwrap();
            let got = if composed { composed_only(embed) } else { embed() };
            for (row, wave) in got.rows().into_iter().zip(WAVES.iter().chain(&WAVES[..1])) {
                let error = difference(row.as_slice().unwrap(), &values.get(&format!("{wave}.embedding")).data).1;
                assert!(error <= bound, "{} {wave}, composed {composed}: {error:.2e}", case.name);
            }
        }
    }
}

#[test]
fn speechbrains_padded_batches_are_there_by_name() {
    let Some(folder) = reference_dir() else { return };
    let tolerances = Tolerances::read(&folder);
    for case in &CASES[..2] {
        let (model, values) = load(&folder, case);
        let shares = values.get("batch.relative_lengths").f32();
        let (batch, expected) = (values.get("batch.features"), values.get("batch.embedding"));
        let features = Array3::from_shape_vec((batch.shape[0], batch.shape[1], batch.shape[2]), batch.f32()).unwrap();
        let bound = tolerances.of(case.name, case.embedding);
        for tier in Tier::available() {
            let plan = Plan::on_tier(tier, &model.description().encoder, model.weights()).unwrap();
            let got = plan.embed_padded_as_speechbrain(features.view(), &shares).unwrap();
            let error = difference(got.as_slice().unwrap(), &expected.data).1;
            assert!(error <= bound, "{} on {tier:?}: {error:.2e}", case.name);
            // A share of nothing, one row too few.
            assert!(matches!(
                plan.embed_padded_as_speechbrain(features.view(), &[1.0, 0.0, 0.5]),
                Err(ModelError::Lengths { rows: 3, .. })
            ));
            assert!(plan.embed_padded_as_speechbrain(features.view(), &shares[..2]).is_err());
        }
        // From the waves, in one tensor.
        let waves = Tensors::read(&folder.join("waves.safetensors"));
        let samples = values.get("batch.lengths").data;
        let most = samples.iter().copied().fold(0.0, f64::max) as usize;
        let mut padded = Array2::zeros((WAVES.len(), most));
        for (name, mut row) in WAVES.iter().zip(padded.outer_iter_mut()) {
            row.iter_mut().zip(waves.get(name).f32()).for_each(|(to, from)| *to = from);
        }
        let lengths: Vec<f64> = samples.iter().map(|samples| samples / most as f64).collect();
        let recognition = SpeakerRecognition::new(&model).unwrap();
        let got = recognition.encode_batch_as_speechbrain(padded.view(), Some(&lengths), false).unwrap();
        let error = difference(got.as_slice().unwrap(), &expected.data).1;
        assert!(error <= 10.0 * bound, "{} from waves: {error:.2e}", case.name);
        // Ours are those of the utterances alone.
        let alone = recognition.encode_batch(padded.view(), Some(&lengths), false).unwrap();
        let error = difference(alone.as_slice().unwrap(), &values.get("batch.embedding_alone").data).1;
        assert!(error <= 10.0 * bound, "{} alone: {error:.2e}", case.name);
    }
    let (resnet, _) = load(&folder, CASES.iter().find(|case| case.name == "wespeaker_resnet34_tiny").unwrap());
    let plan = Plan::new(&resnet.description().encoder, resnet.weights()).unwrap();
    let features = Array3::zeros((1, 20, 80));
    assert!(matches!(plan.embed_padded_as_speechbrain(features.view(), &[1.0]), Err(ModelError::NotPadded)));
}

#[test]
fn classes_scores_and_probabilities_are_speechbrains() {
    let Some(folder) = reference_dir() else { return };
    for case in &CASES[..2] {
        let (model, values) = load(&folder, case);
        let classifier = model.classifier().unwrap();
        assert_eq!(model.labels().unwrap(), ["id10001", "id10038", "id10075", "id10112", "id10149"]);
        for wave in WAVES {
            let embedding = values.get(&format!("{wave}.embedding")).f32();
            let expected = values.get(&format!("{wave}.classifier")).data;
            let scores = classifier.scores(&embedding).unwrap();
            let error = relative(&scores, &expected);
            assert!(error <= 3e-6, "{} {wave}: {error:.2e}", case.name);

            let best = classifier.classify(&embedding).unwrap();
            assert_eq!(best.index as f64, values.get(&format!("{wave}.class_index")).data[0]);
            let score = values.get(&format!("{wave}.class_score")).data[0];
            assert!((best.score - score).abs() <= 3e-6 * score.abs().max(1.0), "{} against {score}", best.score);
            assert_eq!(best.label.as_deref(), Some(&*model.labels().unwrap()[best.index]));
            // The x-vector's scores are logarithms of probabilities already; the ECAPA-TDNN's become so at a scale of 30.
            let scale = if case.name == "ecapa_tiny" { 30.0 } else { 1.0 };
            let sum: f64 = scores.iter().map(|score| (scale * (score - best.score)).exp()).sum();
            assert!((best.probability - 1.0 / sum).abs() < 1e-9, "{} against {}", best.probability, 1.0 / sum);

            let normalised = values.get(&format!("{wave}.embedding_normalised")).data;
            let mean = model.embedding_mean().unwrap();
            let centred: Vec<f64> = embedding.iter().zip(mean).map(|(x, mean)| f64::from(x - mean)).collect();
            assert!(relative(&centred, &normalised) < 1e-6, "{} {wave}", case.name);
        }
    }
}

#[test]
fn an_embedding_of_another_size_is_not_classified() {
    let Some(folder) = reference_dir() else { return };
    let (model, _) = load(&folder, &CASES[0]);
    let error = model.classifier().unwrap().classify(&[0.5; 13]).unwrap_err();
    assert!(matches!(error, ModelError::EmbeddingSize { got: 13, need: 12 }), "{error}");
}

#[test]
fn an_utterance_shorter_than_the_networks_context_is_refused() {
    let Some(folder) = reference_dir() else { return };
    // Reflection by 4 and 3 frames; two columns after three halvings; a deviation over n - 1.
    for (case, least) in CASES.iter().zip([5, 4, 9, 2, 2]) {
        let (model, _) = load(&folder, case);
        let encoder = &model.description().encoder;
        let plan = Plan::new(encoder, model.weights()).unwrap();
        assert_eq!(encoder.least_frames(), least, "{}", case.name);
        let window =
            |frames| Array2::<f32>::from_shape_fn((frames, encoder.bins()), |(t, f)| ((3 * t + f) as f32).sin());
        for refused in [0, least - 1] {
            let error = plan.embed(&[window(refused).view()]).unwrap_err();
            assert!(matches!(error, ModelError::Features { frames, .. } if frames == refused), "{error}");
            assert!(reference::embed(encoder, model.weights(), window(refused).view()).is_err());
        }
        let shortest = plan.embed(&[window(least).view()]).unwrap();
        assert!(shortest.iter().all(|value| value.is_finite()), "{}", case.name);
    }
}

#[test]
fn a_conversion_has_the_originals_tensors_labels_and_fingerprint() {
    let Some(folder) = reference_dir() else { return };
    let mut fingerprints = Vec::new();
    for case in &CASES {
        let (model, values) = load(&folder, case);
        let converted = tempfile::tempdir().unwrap();
        model.save(converted.path()).unwrap();
        let back = ModelDir::load(converted.path()).unwrap();
        assert_eq!(back, model, "{}", case.name);
        assert_eq!(back.fingerprint(), model.fingerprint());
        let features = matrix(&values, "short035.features");
        let embed = |model: &ModelDir| {
            Plan::new(&model.description().encoder, model.weights()).unwrap().embed(&[features.view()]).unwrap()
        };
        assert_eq!(embed(&back), embed(&model), "the same bits");
        // Nor does the fingerprint depend on the directory: the network's file alone is the same model, without the classes.
        let alone = match case.checkpoint {
            "ecapa_tiny" | "xvector_tiny" => Some("embedding_model.ckpt"),
            "wespeaker_resnet34_tiny" | "wespeaker_ecapa_tiny" => Some("avg_model.pt"),
            _ => None,
        };
        if let Some(file) = alone {
            let path: PathBuf = folder.join(case.checkpoint).join(file);
            assert_eq!(ModelDir::load(&path).unwrap().fingerprint(), model.fingerprint(), "{}", case.name);
        }
        fingerprints.push(model.fingerprint().to_string());
    }
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), CASES.len(), "five models");
}

#[test]
fn a_speechbrain_directory_brings_its_threshold_and_its_sources() {
    let Some(folder) = reference_dir() else { return };
    let (model, values) = load(&folder, &CASES[0]);
    let threshold = model.description().threshold.clone().unwrap();
    assert_eq!(threshold.value(), 0.25);
    assert_eq!(threshold.decide(0.25).to_string(), "reject", "strictly above");
    assert_eq!(threshold.decide(0.250_000_1).to_string(), "accept");
    let card = model.card().unwrap();
    assert!(card.contains("SpeechBrain's default"), "{card}");
    assert!(card.contains("scale = 30"), "{card}");
    for file in
        ["hyperparams.yaml", "embedding_model.ckpt", "classifier.ckpt", "label_encoder.txt", "mean_var_norm_emb.ckpt"]
    {
        assert_eq!(model.description().source.files[file].len(), 64, "{file}");
    }
    // SpeechBrain's own scores of pairs, from our embeddings.
    let embedding = |wave: &str| {
        let features = matrix(&values, &format!("{wave}.features"));
        reference::embed(&model.description().encoder, model.weights(), features.view()).unwrap()
    };
    let mut pairs = 0;
    for name in values.names() {
        let Some(pair) = name.strip_prefix("verify.") else { continue };
        let (a, b) = pair.split_once('.').unwrap();
        let expected = values.get(&name).data[0];
        assert!((cosine(&embedding(a), &embedding(b)) - expected).abs() < 3e-6, "{name}");
        pairs += 1;
    }
    assert!(pairs > 0);
}
