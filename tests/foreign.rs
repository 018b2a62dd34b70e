//! Directories and checkpoints of other systems that are broken, hostile, or not what they seem: each is refused by name.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::collections::BTreeMap;
use std::path::Path;

use common::data::reference_dir;
use common::mutate::mutations;
use safetensors::tensor::{Dtype, TensorView};
use sv_models::checkpoint::{Problem, StateDict, StateTensor, YamlProblem, write};
use sv_models::{LabelProblem, ModelDir, ModelError};

const SPEECHBRAIN: [&str; 5] =
    ["hyperparams.yaml", "embedding_model.ckpt", "classifier.ckpt", "label_encoder.txt", "mean_var_norm_emb.ckpt"];

/// A copy of one of the reference's directories that a test may break; without the reference folder none.
fn copied(name: &str) -> Option<tempfile::TempDir> {
    let source = reference_dir()?.join(name);
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        std::fs::write(folder.path().join(path.file_name().unwrap()), std::fs::read(&path).unwrap()).unwrap();
    }
    Some(folder)
}

fn refused(folder: &Path) -> ModelError {
    ModelDir::load(folder).unwrap_err()
}

/// Writes `state` to `path`; what kind of file it is, a reader tells by its content.
fn put(path: &Path, state: &StateDict) {
    write(path, state, &BTreeMap::new()).unwrap();
}

/// Changes the tensors of a file.
fn edit(path: &Path, change: impl Fn(&mut StateDict)) {
    let mut state = StateDict::read(path).unwrap();
    change(&mut state);
    put(path, &state);
}

/// Replaces `from`, which must be there, in a text file.
fn rewrite(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {}", path.display());
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn tensor(shape: &[usize], value: f32) -> StateTensor {
    StateTensor::from_f32(shape, &vec![value; shape.iter().product()]).unwrap()
}

/// Whole numbers in this shape.
fn integers(shape: &[usize]) -> StateTensor {
    let bytes = vec![0; 8 * shape.iter().product::<usize>()];
    let view = TensorView::new(Dtype::I64, shape.to_vec(), &bytes).unwrap();
    let file = safetensors::serialize([("x", view)], None).unwrap();
    StateDict::from_bytes("made", &file).unwrap().take("x").unwrap()
}

#[test]
fn a_directory_that_lacks_a_file_names_it() {
    for (name, files) in
        [("ecapa_tiny", &SPEECHBRAIN[..]), ("wespeaker_resnet34_tiny", &["avg_model.pt", "config.yaml"])]
    {
        for file in files {
            let Some(folder) = copied(name) else { return };
            std::fs::remove_file(folder.path().join(file)).unwrap();
            let error = refused(folder.path());
            assert!(
                matches!(&error, ModelError::MissingFile { file: missing, .. } if missing == file),
                "{file}: {error}"
            );
        }
    }
}

#[test]
fn labels_may_have_the_name_that_speechbrain_saves_them_by() {
    let Some(folder) = copied("ecapa_tiny") else { return };
    let whole = ModelDir::load(folder.path()).unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::rename(path("label_encoder.txt"), path("label_encoder.ckpt")).unwrap();
    assert_eq!(ModelDir::load(folder.path()).unwrap().labels(), whole.labels());
}

#[test]
fn a_checkpoint_of_another_architecture_says_which_it_looks_like() {
    let Some(reference) = reference_dir() else { return };
    for (directory, file, other, looks) in [
        ("ecapa_tiny", "embedding_model.ckpt", "xvector_tiny/embedding_model.ckpt", "x-vector (SpeechBrain)"),
        ("xvector_tiny", "embedding_model.ckpt", "ecapa_tiny/embedding_model.ckpt", "ECAPA-TDNN (SpeechBrain)"),
        ("ecapa_tiny", "embedding_model.ckpt", "wespeaker_resnet34_tiny/avg_model.pt", "ResNet (WeSpeaker)"),
        ("wespeaker_resnet34_tiny", "avg_model.pt", "wespeaker_ecapa_tiny/avg_model.pt", "ECAPA-TDNN (WeSpeaker)"),
        ("wespeaker_ecapa_tiny", "avg_model.pt", "taoruijie_ecapa_tiny.model", "ECAPA-TDNN (TaoRuijie)"),
    ] {
        let Some(folder) = copied(directory) else { return };
        std::fs::write(folder.path().join(file), std::fs::read(reference.join(other)).unwrap()).unwrap();
        let error = refused(folder.path());
        assert!(matches!(&error, ModelError::OtherArchitecture { found, .. } if *found == looks), "{other}: {error}");
    }
}

#[test]
fn a_network_that_is_known_but_not_built_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("avg_model.pt");
    for (tensors, network) in [
        (&["xvector.tdnn.linear.weight", "head.conv1.weight"][..], "CAM++"),
        (&["resnet.conv1.weight", "resnet.seg_1.weight"], "pyannote"),
        (&["conv1.weight", "layer1.0.conv3.weight", "seg_1.weight"], "bottleneck"),
        (&["conv1.weight", "seg_1.weight", "seg_2.weight"], "two embedding layers"),
    ] {
        put(&path, &StateDict::from_tensors("made", tensors.iter().map(|&name| (name.to_owned(), tensor(&[1], 0.5)))));
        let error = refused(&path);
        assert!(
            matches!(&error, ModelError::NotBuilt { architecture, .. } if architecture.contains(network)),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_was_cut_short_is_refused() {
    for file in ["embedding_model.ckpt", "classifier.ckpt", "mean_var_norm_emb.ckpt"] {
        let Some(folder) = copied("ecapa_tiny") else { return };
        let path = folder.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = refused(folder.path());
            assert!(matches!(error, ModelError::Checkpoint { .. }), "{file}, {length} bytes: {error}");
        }
    }
}

#[test]
fn a_pickle_with_code_is_refused_wherever_it_stands_and_not_run() {
    let Some(reference) = reference_dir() else { return };
    let hostile = std::fs::read_dir(reference.join("checkpoints/hostile")).unwrap();
    let hostile =
        hostile.map(|entry| entry.unwrap().path()).find(|path| path.file_stem().unwrap() == "reduce").unwrap();
    for file in ["embedding_model.ckpt", "classifier.ckpt", "mean_var_norm_emb.ckpt"] {
        let Some(folder) = copied("ecapa_tiny") else { return };
        std::fs::write(folder.path().join(file), std::fs::read(&hostile).unwrap()).unwrap();
        let error = refused(folder.path());
        let forbidden = matches!(&error, ModelError::Checkpoint { problem: Problem::ForbiddenGlobal { .. }, .. });
        assert!(forbidden, "{file}: {error}");
    }
}

/// Each family's file, a tensor of it, and its shape at the reference's size.
const TENSORS: [(&str, &str, &str, &[usize]); 7] = [
    ("ecapa_tiny", "embedding_model.ckpt", "blocks.2.tdnn1.norm.norm.running_var", &[16]),
    ("ecapa_tiny", "classifier.ckpt", "weight", &[5, 12]),
    ("ecapa_tiny", "mean_var_norm_emb.ckpt", "glob_mean", &[12]),
    ("xvector_tiny", "embedding_model.ckpt", "blocks.16.w.bias", &[16]),
    ("xvector_tiny", "classifier.ckpt", "DNN.block_0.linear.w.bias", &[16]),
    ("wespeaker_resnet34_tiny", "avg_model.pt", "layer3.0.shortcut.1.bias", &[32]),
    ("wespeaker_ecapa_tiny", "avg_model.pt", "layer4.se_res2block.1.bns.6.running_mean", &[2]),
];

#[test]
fn a_tensor_that_is_missing_misshapen_of_integers_or_not_finite_is_named() {
    for (directory, file, name, shape) in TENSORS {
        let with = |change: &dyn Fn(&mut StateDict)| {
            let folder = copied(directory)?;
            edit(&folder.path().join(file), change);
            Some(refused(folder.path()))
        };
        let Some(error) = with(&|state| drop(state.take(name))) else { return };
        assert!(matches!(&error, ModelError::MissingTensor { tensor, .. } if tensor == name), "{name}: {error}");

        let larger = [shape, &[1]].concat();
        let error = with(&|state| drop(state.insert(name, tensor(&larger, 0.5)))).unwrap();
        let is_shape = matches!(&error, ModelError::TensorShape { tensor, .. } if tensor == name);
        // A size that is read off this very tensor has no axis to be read from.
        assert!(is_shape, "{name}: {error}");

        let error = with(&|state| drop(state.insert(name, integers(shape)))).unwrap();
        assert!(matches!(&error, ModelError::TensorDtype { tensor, .. } if tensor == name), "{name}: {error}");

        let error = with(&|state| drop(state.insert(name, tensor(shape, f32::NAN)))).unwrap();
        assert!(matches!(&error, ModelError::TensorNotFinite { .. }), "{name}: {error}");
    }
}

#[test]
fn a_tensor_that_no_part_of_the_network_takes_is_named() {
    for (directory, file, surplus) in [
        ("ecapa_tiny", "embedding_model.ckpt", "blocks.1.shortcut.conv.weight"),
        ("ecapa_tiny", "classifier.ckpt", "blocks.0.linear.w.weight"),
        ("xvector_tiny", "embedding_model.ckpt", "blocks.17.w.weight"),
        ("wespeaker_resnet34_tiny", "avg_model.pt", "seg_bn_1.running_mean"),
        ("wespeaker_ecapa_tiny", "avg_model.pt", "bn2.weight"),
    ] {
        let Some(folder) = copied(directory) else { return };
        edit(&folder.path().join(file), |state| drop(state.insert(surplus, tensor(&[1], 0.5))));
        let error = refused(folder.path());
        assert!(matches!(&error, ModelError::UnexpectedTensor { tensor, .. } if tensor == surplus), "{error}");
    }
}

#[test]
fn a_deviation_that_embeddings_would_be_divided_by_is_refused() {
    let Some(folder) = copied("ecapa_tiny") else { return };
    edit(&folder.path().join("mean_var_norm_emb.ckpt"), |state| drop(state.insert("glob_std", tensor(&[12], 2.0))));
    let error = refused(folder.path());
    assert!(matches!(&error, ModelError::TensorValues { tensor, .. } if tensor == "glob_std"), "{error}");
}

#[test]
fn taoruijies_file_is_its_encoder_and_nothing_unknown() {
    let Some(reference) = reference_dir() else { return };
    let original = reference.join("taoruijie_ecapa_tiny.model");
    let model = ModelDir::load(&original).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pretrain.model");

    // Trained on several devices, names say so; the weights are the same.
    let state = StateDict::read(&original).unwrap();
    let renamed = state.iter().map(|(name, tensor)| (format!("module.{name}"), tensor.clone()));
    put(&path, &StateDict::from_tensors("made", renamed));
    assert_eq!(ModelDir::load(&path).unwrap().fingerprint(), model.fingerprint());

    for surplus in ["speaker_encoder.layer5.weight", "speaker_encoder.torchfbank.2.x", "speaker_loss.bias", "more"] {
        let mut state = StateDict::read(&original).unwrap();
        state.insert(surplus, tensor(&[1], 0.5));
        put(&path, &state);
        let error = refused(&path);
        let named = matches!(&error, ModelError::UnexpectedTensor { tensor, .. } if surplus.ends_with(tensor.as_str()));
        assert!(named, "{surplus}: {error}");
    }
}

#[test]
fn a_setting_that_differs_from_the_tensors_or_the_family_is_named() {
    for (directory, file, from, to, key) in [
        ("ecapa_tiny", "hyperparams.yaml", "n_mels: 80", "n_mels: 24", "compute_features.n_mels (by n_mels)"),
        ("ecapa_tiny", "hyperparams.yaml", "    n_mels: !ref <n_mels>", "    n_mels: 40", "compute_features.n_mels"),
        (
            "ecapa_tiny",
            "hyperparams.yaml",
            "    n_mels: !ref",
            "    hop_length: 8\n    n_mels: !ref",
            "compute_features.hop_length",
        ),
        (
            "ecapa_tiny",
            "hyperparams.yaml",
            "    n_mels: !ref",
            "    log_mel: True\n    n_mels: !ref",
            "compute_features.log_mel",
        ),
        (
            "ecapa_tiny",
            "hyperparams.yaml",
            "dilations: [1, 2, 3, 4, 1]",
            "dilations: [1, 2, 3, 5, 1]",
            "embedding_model.dilations",
        ),
        ("ecapa_tiny", "hyperparams.yaml", "16, 48]", "16, 96]", "embedding_model.channels"),
        ("ecapa_tiny", "hyperparams.yaml", "res2net_scale: 4", "res2net_scale: 8", "embedding_model.res2net_scale"),
        (
            "ecapa_tiny",
            "hyperparams.yaml",
            "    se_channels: 8",
            "    global_context: False",
            "embedding_model.global_context",
        ),
        ("ecapa_tiny", "hyperparams.yaml", "norm_type: sentence", "norm_type: batch", "mean_var_norm.norm_type"),
        ("ecapa_tiny", "hyperparams.yaml", "std_norm: False", "std_norm: True", "mean_var_norm.std_norm"),
        (
            "ecapa_tiny",
            "hyperparams.yaml",
            "out_n_neurons: 5",
            "out_n_neurons: 7",
            "classifier.out_neurons (by out_n_neurons)",
        ),
        (
            "ecapa_tiny",
            "hyperparams.yaml",
            "n_mels: !ref <n_mels>",
            "n_mels: !ref <loop>\nloop: !ref <loop>",
            "compute_features.n_mels",
        ),
        ("ecapa_tiny", "hyperparams.yaml", "features.Fbank", "features.MFCC", "compute_features"),
        ("ecapa_tiny", "hyperparams.yaml", "label_encoder: !new:", "more: !new:os.", "more"),
        (
            "xvector_tiny",
            "hyperparams.yaml",
            "tdnn_dilations: [1, 2, 3",
            "tdnn_dilations: [1, 2, 2",
            "embedding_model.tdnn_dilations",
        ),
        ("xvector_tiny", "hyperparams.yaml", "torch.nn.LeakyReLU", "torch.nn.ReLU", "embedding_model.activation"),
        ("xvector_tiny", "hyperparams.yaml", "lin_blocks: 1", "lin_blocks: 2", "classifier.lin_blocks"),
        ("wespeaker_resnet34_tiny", "config.yaml", "model: ResNet34", "model: ResNet18", "model"),
        ("wespeaker_resnet34_tiny", "config.yaml", "model: ResNet34", "model: Gemini_DFResNet60", "model"),
        ("wespeaker_resnet34_tiny", "config.yaml", "model: ResNet34\n", "", "model"),
        ("wespeaker_resnet34_tiny", "config.yaml", "feat_dim: 80", "feat_dim: 64", "model_args.feat_dim"),
        ("wespeaker_resnet34_tiny", "config.yaml", "TSTP", "TSDP", "model_args.pooling_func"),
        (
            "wespeaker_resnet34_tiny",
            "config.yaml",
            "two_emb_layer: False",
            "two_emb_layer: True",
            "model_args.two_emb_layer",
        ),
        (
            "wespeaker_resnet34_tiny",
            "config.yaml",
            "num_mel_bins: 80",
            "num_mel_bins: 64",
            "dataset_args.fbank_args.num_mel_bins",
        ),
        (
            "wespeaker_resnet34_tiny",
            "config.yaml",
            "frontend: \"fbank\"",
            "frontend: \"s3prl\"",
            "dataset_args.frontend",
        ),
        (
            "wespeaker_resnet34_tiny",
            "config.yaml",
            "resample_rate: 16000",
            "resample_rate: 8000",
            "dataset_args.resample_rate",
        ),
    ] {
        let Some(folder) = copied(directory) else { return };
        rewrite(&folder.path().join(file), from, to);
        let error = refused(folder.path());
        assert!(matches!(&error, ModelError::Setting { key: named, .. } if named == key), "{to}: {error}");
    }
}

#[test]
fn what_only_training_needs_may_be_anything() {
    for (directory, file, from, to) in [
        ("wespeaker_resnet34_tiny", "config.yaml", "dither: 1.0", "dither: 0.5"),
        ("wespeaker_resnet34_tiny", "config.yaml", "batch_size: 128", "batch_size: 7"),
        ("ecapa_tiny", "hyperparams.yaml", "pretrained_path: ecapa_tiny", "pretrained_path: org/name\nseed: 1986"),
    ] {
        let Some(folder) = copied(directory) else { return };
        let before = ModelDir::load(folder.path()).unwrap().fingerprint();
        rewrite(&folder.path().join(file), from, to);
        assert_eq!(ModelDir::load(folder.path()).unwrap().fingerprint(), before);
    }
}

#[test]
fn a_yaml_that_asks_for_code_is_refused_by_name() {
    for tag in ["!apply:os.system", "!!python/object/apply:os.system"] {
        let Some(folder) = copied("ecapa_tiny") else { return };
        rewrite(&folder.path().join("hyperparams.yaml"), "n_mels: 80", &format!("n_mels: 80\nx: {tag} [touch /tmp/x]"));
        let error = refused(folder.path());
        let named =
            matches!(&error, ModelError::Yaml { problem: YamlProblem::Tag { tag: named, .. }, .. } if named == tag);
        assert!(named, "{error}");
    }
}

#[test]
fn a_text_file_that_is_none_or_far_too_long_is_refused() {
    let Some(folder) = copied("ecapa_tiny") else { return };
    let path = folder.path().join("hyperparams.yaml");
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(matches!(refused(folder.path()), ModelError::TooLong { limit: 1_048_576, .. }));
    std::fs::write(&path, b"\xff\xfe").unwrap();
    assert!(matches!(refused(folder.path()), ModelError::Read { .. }));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(refused(folder.path()), ModelError::NotAFile { .. }));
}

#[test]
fn labels_that_do_not_fit_the_classifier_are_refused() {
    for (from, to, is_it) in [
        (
            "'id10149' => 4\n",
            "",
            (|problem| matches!(problem, LabelProblem::Count { got: 4, need: 5 })) as fn(&_) -> bool,
        ),
        ("=> 4", "=> 3", |problem| matches!(problem, LabelProblem::Index { line: 5, index: 3, count: 5 })),
        ("'id10001' => 0", "id10001 0", |problem| matches!(problem, LabelProblem::Line { line: 1, .. })),
        ("'id10001'", "''", |problem| matches!(problem, LabelProblem::Unwritable { index: 0, .. })),
    ] {
        let Some(folder) = copied("ecapa_tiny") else { return };
        rewrite(&folder.path().join("label_encoder.txt"), from, to);
        let error = refused(folder.path());
        assert!(matches!(&error, ModelError::Labels { problem, .. } if is_it(problem)), "{to}: {error}");
    }
}

#[test]
fn a_converted_directory_keeps_classes_and_refuses_what_does_not_fit_them() {
    let Some(reference) = reference_dir() else { return };
    let model = ModelDir::load(&reference.join("xvector_tiny")).unwrap();
    let saved = |change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path()).unwrap();
        change(folder.path());
        ModelDir::load(folder.path())
    };
    assert_eq!(saved(&|_| ()).unwrap(), model);
    let error = saved(&|folder| std::fs::write(folder.join("labels.txt"), "a\nb\n").unwrap()).unwrap_err();
    assert!(matches!(error, ModelError::Labels { problem: LabelProblem::Count { got: 2, need: 5 }, .. }), "{error}");
    let error = saved(&|folder| std::fs::remove_file(folder.join("labels.txt")).unwrap()).unwrap_err();
    assert!(matches!(error, ModelError::Read { .. }), "{error}");
    for name in ["classifier.out.weight", "embedding_mean"] {
        let error =
            saved(&|folder| edit(&folder.join("weights.safetensors"), |state| drop(state.take(name)))).unwrap_err();
        let missing = name.strip_prefix("classifier.").unwrap_or(name);
        assert!(matches!(&error, ModelError::MissingTensor { tensor, .. } if tensor == missing), "{error}");
    }
    let error = saved(&|folder| rewrite(&folder.join("model.toml"), "embedding_mean = true\n", "")).unwrap_err();
    assert!(matches!(&error, ModelError::UnexpectedTensor { tensor, .. } if tensor == "embedding_mean"), "{error}");
    let error = saved(&|folder| rewrite(&folder.join("model.toml"), "classes = 5", "classes = 0")).unwrap_err();
    assert!(matches!(error, ModelError::Config { key: "classifier.classes", .. }), "{error}");
}

#[test]
fn labels_without_a_classifier_are_refused() {
    let Some(reference) = reference_dir() else { return };
    let model = ModelDir::load(&reference.join("wespeaker_resnet34_tiny")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path()).unwrap();
    rewrite(&folder.path().join("model.toml"), "embedding_size", "labels = \"labels.txt\"\nembedding_size");
    let error = refused(folder.path());
    assert!(matches!(error, ModelError::Config { key: "labels", .. }), "{error}");
}

#[test]
fn damaged_texts_are_errors_or_leave_the_model_as_it_is() {
    for (directory, file, count) in [
        ("ecapa_tiny", "hyperparams.yaml", 400),
        ("xvector_tiny", "hyperparams.yaml", 400),
        ("xvector_tiny", "label_encoder.txt", 400),
        ("wespeaker_resnet34_tiny", "config.yaml", 100),
    ] {
        let Some(folder) = copied(directory) else { return };
        let model = ModelDir::load(folder.path()).unwrap();
        let path = folder.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for bytes in mutations(&whole, count, 3) {
            std::fs::write(&path, bytes).unwrap();
            match ModelDir::load(folder.path()) {
                Ok(loaded) => assert_eq!(loaded.fingerprint(), model.fingerprint()),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > count / 4, "{file}: {refused} of {count}");
    }
}

#[test]
fn a_damaged_checkpoint_is_an_error_or_other_numbers() {
    let Some(folder) = copied("xvector_tiny") else { return };
    for file in ["embedding_model.ckpt", "classifier.ckpt", "mean_var_norm_emb.ckpt"] {
        let path = folder.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        for bytes in mutations(&whole, 150, 4) {
            std::fs::write(&path, bytes).unwrap();
            if let Ok(model) = ModelDir::load(folder.path()) {
                assert_eq!(model.description().embedding_size, 16);
            }
        }
        std::fs::write(&path, whole).unwrap();
    }
}
