//! Model directories: saved and loaded whole, and refused with the name of what is wrong.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::collections::BTreeMap;
use std::path::Path;

use common::model::{tiny_model, voice};
use common::mutate::mutations;
use speaker_verification::SpeakerRecognition;
use speaker_verification::metrics::{TrialFormat, Trials};
use speaker_verification::models::checkpoint::{StateDict, StateTensor, family};
use speaker_verification::models::{Embedding, ModelDir, ModelError, Plan, Source};
use speaker_verification::{Error, Waveform, read_list, recordings_in};
use sv_kernels::lstm::{LayerSizes, LayerWeights};

fn saved() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny_model(None).save(folder.path()).unwrap();
    folder
}

/// Loads the tiny model after `edit` has changed its card.
fn with_card(edit: impl Fn(&str) -> String) -> Result<ModelDir, ModelError> {
    let folder = saved();
    let path = folder.path().join("model.toml");
    let card = std::fs::read_to_string(&path).unwrap();
    let edited = edit(&card);
    assert_ne!(card, edited, "the edit must change something");
    std::fs::write(&path, edited).unwrap();
    ModelDir::load(folder.path())
}

/// Loads the tiny model after `edit` has changed its weights.
fn with_weights(edit: impl Fn(&mut StateDict)) -> Result<ModelDir, ModelError> {
    let folder = saved();
    let path = folder.path().join("weights.safetensors");
    let mut state = StateDict::read(&path).unwrap();
    edit(&mut state);
    speaker_verification::models::checkpoint::write(&path, &state, &std::collections::BTreeMap::new()).unwrap();
    ModelDir::load(folder.path())
}

#[path = "fuzz/calls/model.rs"]
mod model;

#[test]
fn damaged_cards_are_errors_or_bounded_models() {
    let card = tiny_model(None).card().unwrap();
    for bytes in mutations(card.as_bytes(), 2_000, 1) {
        model::call(&bytes);
    }
}

#[test]
fn damaged_weights_are_errors() {
    let folder = saved();
    let path = folder.path().join("weights.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for bytes in mutations(&whole, 300, 2).filter(|bytes| *bytes != whole) {
        std::fs::write(&path, bytes).unwrap();
        assert!(ModelDir::load(folder.path()).is_err());
    }
}

#[test]
fn a_model_comes_back_as_it_was_saved() {
    let model = tiny_model(None);
    let folder = saved();
    let back = ModelDir::load(folder.path()).unwrap();
    assert_eq!(back, model);
    // Saving over itself changes no byte: nothing in a model directory depends on the time or the place.
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let before = (bytes("model.toml"), bytes("weights.safetensors"));
    back.save(folder.path()).unwrap();
    assert_eq!((bytes("model.toml"), bytes("weights.safetensors")), before);
}

#[test]
fn every_constant_of_the_front_end_stands_in_the_card() {
    let card = tiny_model(None).card().unwrap();
    for key in ["rate_hz", "n_fft", "win_length", "hop", "resampler", "bins", "min_coverage", "embedding_size"] {
        assert!(card.contains(key), "{key} is not in:\n{card}");
    }
}

#[test]
fn an_unknown_key_is_named_wherever_it_stands() {
    for (after, key) in
        [("format = 1", "surplus"), ("[encoder]", "droput"), ("[front_end]", "preemphasis"), ("[windows]", "overlap")]
    {
        let error = with_card(|card| card.replacen(after, &format!("{after}\n{key} = 1"), 1)).unwrap_err();
        assert!(matches!(error, ModelError::Card { .. }) && error.to_string().contains(key), "{key}: {error}");
    }
}

#[test]
fn another_format_version_is_named() {
    let error = with_card(|card| card.replace("format = 1", "format = 2")).unwrap_err();
    assert!(matches!(error, ModelError::Format { found: Some(2), .. }), "{error}");
}

#[test]
fn a_card_that_is_no_toml_says_where() {
    let error = with_card(|card| format!("{card}\n= nonsense")).unwrap_err();
    assert!(matches!(error, ModelError::Card { .. }) && error.to_string().contains("line"), "{error}");
}

#[test]
fn sizes_that_do_not_fit_together_are_named() {
    let error = with_card(|card| card.replace("embedding_size = 12", "embedding_size = 13")).unwrap_err();
    assert!(matches!(error, ModelError::Config { key: "embedding_size", .. }), "{error}");
    let error = with_card(|card| card.replace("hidden = 16", "hidden = 1000000000000")).unwrap_err();
    assert!(matches!(error, ModelError::Config { key: "encoder.hidden", .. }), "{error}");
}

#[test]
fn changed_constants_do_not_pass_for_the_model_that_was_saved() {
    let error = with_card(|card| card.replace("epsilon = 0.0", "epsilon = 0.5")).unwrap_err();
    assert!(matches!(error, ModelError::Fingerprint { .. }), "{error}");
}

#[test]
fn a_tensor_that_is_missing_misshapen_surplus_or_not_finite_is_named() {
    let name = "lstm.1.weight_hh";
    let error = with_weights(|state| drop(state.take(name))).unwrap_err();
    assert!(matches!(&error, ModelError::MissingTensor { tensor, .. } if tensor == name), "{error}");

    let tensor =
        |shape: &[usize], value: f32| StateTensor::from_f32(shape, &vec![value; shape.iter().product()]).unwrap();
    let error = with_weights(|state| drop(state.insert(name, tensor(&[64, 9], 0.0)))).unwrap_err();
    assert!(matches!(&error, ModelError::TensorShape { tensor, .. } if tensor == name), "{error}");

    let error = with_weights(|state| drop(state.insert("lstm.2.bias", tensor(&[64], 0.0)))).unwrap_err();
    assert!(matches!(&error, ModelError::UnexpectedTensor { tensor, .. } if tensor == "lstm.2.bias"), "{error}");

    let error = with_weights(|state| drop(state.insert(name, tensor(&[64, 8], f32::NAN)))).unwrap_err();
    assert!(matches!(&error, ModelError::TensorNotFinite { tensor, .. } if tensor == name), "{error}");
}

#[test]
fn a_folder_or_file_that_is_no_model_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let error = ModelDir::load(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::NotAModelDirectory { .. }), "{error}");
    std::fs::write(folder.path().join("hyperparams.yaml"), "").unwrap();
    let error = ModelDir::load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("SpeechBrain"), "{error}");
    let error = ModelDir::load(&folder.path().join("nothing")).unwrap_err();
    assert!(matches!(error, ModelError::Read { .. }), "{error}");
}

#[test]
fn a_network_that_is_not_built_yet_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    for (tensor, network) in [
        ("resnet.conv1.weight", "ResNet"),
        ("xvector.tdnn.linear.weight", "CAM++"),
        ("something.else", "something.else"),
    ] {
        let value = StateTensor::from_f32(&[1], &[0.5]).unwrap();
        let state = StateDict::from_tensors("test", [(tensor.to_owned(), value)]);
        speaker_verification::models::checkpoint::write(&path, &state, &std::collections::BTreeMap::new()).unwrap();
        let error = ModelDir::load(&path).unwrap_err();
        assert!(error.to_string().contains(network), "{error}");
    }
}

#[test]
fn embeddings_of_two_models_are_never_compared() {
    let one = SpeakerRecognition::new(&tiny_model(None)).unwrap();
    let other = {
        let model = tiny_model(None);
        let mut description = model.description().clone();
        description.front_end.rate_hz = 16_000;
        description.front_end.name = "another".into();
        let tensors = model.weights().iter().map(|(name, weight)| (name.to_owned(), weight.clone())).collect();
        SpeakerRecognition::new(&ModelDir::new("test", description, tensors).unwrap()).unwrap()
    };
    let wave = voice(150.0, 1);
    let (a, b) = (one.embed(&wave).unwrap(), other.embed(&wave).unwrap());
    let error = one.compare(&a.embedding, &b.embedding).unwrap_err();
    assert!(matches!(error, Error::Model(ModelError::ForeignEmbedding { .. })), "{error}");
}

#[test]
fn an_utterance_has_the_same_embedding_alone_and_in_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let model = SpeakerRecognition::new(&tiny_model(None)).unwrap();
    let files: Vec<_> = (0..11)
        .map(|n| {
            let path = folder.path().join(format!("{n}.wav"));
            let wave = voice(90.0 + 13.0 * n as f32, n);
            // Of different lengths, so that each has another number of windows.
            let kept = wave.len() - 2_000 * n as usize;
            let wave = Waveform::new(wave.samples()[..kept].to_vec(), 16_000).unwrap();
            std::fs::write(&path, wave.to_wav()).unwrap();
            path
        })
        .collect();
    let together = model.embed_files(&files, |_| ());
    for (file, result) in files.iter().zip(together) {
        assert_eq!(result.unwrap(), model.embed_file(file).unwrap(), "{}", file.display());
    }
}

#[test]
fn a_missing_file_and_a_folder_for_a_file_are_named() {
    let model = SpeakerRecognition::new(&tiny_model(None)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("nobody.wav"), folder.path().to_path_buf()] {
        let error = model.embed_file(&path).unwrap_err();
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    assert!(SpeakerRecognition::load(Path::new("no such model")).is_err());
}

#[test]
fn a_model_that_cannot_be_written_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "in the way").unwrap();
    let error = tiny_model(None).save(&path.join("model")).unwrap_err();
    assert!(matches!(error, ModelError::Write { .. }), "{error}");
}

#[test]
fn features_that_the_network_does_not_take_are_refused() {
    let model = tiny_model(None);
    let plan = Plan::new(&model.description().encoder, model.weights()).unwrap();
    for shape in [(0, 40), (5, 39)] {
        let features = ndarray::Array2::<f32>::zeros(shape);
        let error = plan.embed(&[features.view()]).unwrap_err();
        assert!(matches!(error, ModelError::Features { need: 40, .. }), "{error}");
    }
    assert_eq!(plan.embed(&[]).unwrap().shape(), [0, 12]);
}

#[test]
fn windows_of_many_lengths_together_equal_each_alone_bit_for_bit() {
    let model = tiny_model(None);
    let plan = Plan::new(&model.description().encoder, model.weights()).unwrap();
    let windows: Vec<_> = (0..70)
        .map(|n| {
            ndarray::Array2::from_shape_fn((1 + n / 9 % 4, 40), |(t, f)| ((n * 7 + t * 3 + f) as f32 * 0.37).sin())
        })
        .collect();
    let views: Vec<_> = windows.iter().map(|window| window.view()).collect();
    let together = plan.embed(&views).unwrap();
    for (row, view) in together.outer_iter().zip(&views) {
        assert_eq!(row.as_slice().unwrap(), plan.embed(&[*view]).unwrap().as_slice().unwrap());
    }
}

#[test]
fn an_embedding_that_is_not_finite_or_all_zeros_has_no_score() {
    let fingerprint = tiny_model(None).fingerprint();
    let error = Embedding::new(vec![0.0, f32::NAN], fingerprint).unwrap_err();
    assert!(matches!(error, ModelError::EmbeddingNotFinite { index: 1, .. }), "{error}");
    let zeros = Embedding::new(vec![0.0; 3], fingerprint).unwrap();
    assert!(matches!(zeros.cosine(&zeros).unwrap_err(), ModelError::Score(_)));
}

#[test]
fn a_list_of_which_every_file_fails_says_so() {
    let model = SpeakerRecognition::new(&tiny_model(None)).unwrap();
    let trials = Trials::parse("1 a.wav b.wav\n0 a.wav c.wav\n", TrialFormat::VoxCeleb).unwrap();
    let error = model.evaluate(&trials, Path::new("nowhere"), |_| ()).unwrap_err();
    assert!(matches!(error, Error::NothingScored { failed: 3, .. }) && error.to_string().contains("a.wav"), "{error}");
    let blind = Trials::parse("a.wav b.wav\n", TrialFormat::VoxSrcBlind).unwrap();
    assert!(model.evaluate(&blind, Path::new("nowhere"), |_| ()).is_err());
}

#[test]
fn lists_and_folders_without_recordings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(recordings_in(folder.path()), Err(Error::NothingToDo { .. })));
    assert!(matches!(recordings_in(&folder.path().join("no")), Err(Error::Read { .. })));
    let list = folder.path().join("list");
    std::fs::write(&list, "# nothing\n\n").unwrap();
    assert!(matches!(read_list(&list, folder.path()), Err(Error::NothingToDo { .. })));
    std::fs::write(&list, "\u{feff}x/a.wav\r\n# no\r\nb.wav").unwrap();
    assert_eq!(read_list(&list, Path::new("r")).unwrap(), [Path::new("r/x/a.wav"), Path::new("r/b.wav")]);
}

/// The TensorFlow code's variables at its published sizes, by its names, with weights that a formula gives.
fn tensorflow_variables() -> Vec<(String, StateTensor)> {
    let mut variables = vec![
        ("w".to_owned(), StateTensor::from_f32(&[], &[10.0]).unwrap()),
        ("b".to_owned(), StateTensor::from_f32(&[], &[-5.0]).unwrap()),
    ];
    for layer in 0..3 {
        let rows = if layer == 0 { 40 + 64 } else { 64 + 64 };
        for (name, shape) in [("kernel", vec![rows, 512]), ("bias", vec![512]), ("projection/kernel", vec![128, 64])] {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> =
                (0..count).map(|i| 0.2 * ((i * 37 + layer * 11 + name.len()) as f32).sin()).collect();
            let name = format!("lstm/rnn/multi_rnn_cell/cell_{layer}/lstm_cell/{name}");
            variables.push((name, StateTensor::from_f32(&shape, &values).unwrap()));
        }
    }
    variables
}

#[test]
fn a_tensorflow_checkpoint_is_the_codes_own_network() {
    let state = StateDict::from_tensors("model.ckpt", tensorflow_variables());
    let source = Source { name: "model.ckpt".into(), revision: None, sha256: None, files: BTreeMap::new() };
    let model = family::convert(&state, source).unwrap();
    assert_eq!(model.description().encoder.parameters(), 210_432);
    assert_eq!(model.description().front_end.name, "ge2e-tf");

    // Its cell by the plain definition in f64, then n(x) = x / sqrt(sum x^2 + 1e-6).
    let value = |layer: usize, name: &str| -> Vec<f64> {
        let tensor = state.get(&format!("lstm/rnn/multi_rnn_cell/cell_{layer}/lstm_cell/{name}")).unwrap();
        tensor.f32().unwrap().into_iter().map(f64::from).collect()
    };
    let layers: Vec<_> = (0..3)
        .map(|layer| {
            let sizes = LayerSizes { input: if layer == 0 { 40 } else { 64 }, hidden: 128, projection: Some(64) };
            let projection = value(layer, "projection/kernel");
            LayerWeights::from_tensorflow(sizes, &value(layer, "kernel"), &value(layer, "bias"), Some(&projection))
                .unwrap()
        })
        .collect();
    let features = ndarray::Array2::from_shape_fn((9, 40), |(t, f)| ((t * 40 + f) as f32 * 0.7).sin());
    let input: Vec<f64> = features.iter().map(|&value| f64::from(value)).collect();
    let plain = sv_kernels::reference::lstm(&layers, 1, 9, &input, None).unwrap();
    let last = &plain.h_n[plain.h_n.len() - 64..];
    let norm = (last.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
    let expected: Vec<f64> = last.iter().map(|x| x / norm).collect();
    let plan = Plan::new(&model.description().encoder, model.weights()).unwrap();
    let got = plan.embed(&[features.view()]).unwrap();
    let (absolute, _) = common::data::difference(got.as_slice().unwrap(), &expected);
    assert!(absolute < 1e-6, "{absolute:e}");
}

#[test]
fn a_tensorflow_checkpoint_with_a_layer_torn_out_is_refused() {
    let mut variables = tensorflow_variables();
    variables.retain(|(name, _)| !name.contains("cell_1/lstm_cell/bias"));
    let state = StateDict::from_tensors("model.ckpt", variables);
    let source = Source { name: "model.ckpt".into(), revision: None, sha256: None, files: BTreeMap::new() };
    let error = family::convert(&state, source).unwrap_err();
    assert!(matches!(&error, ModelError::MissingTensor { tensor, .. } if tensor.contains("cell_1")), "{error}");
}
