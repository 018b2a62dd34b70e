//! Checkpoints of other systems: what they hold, and what must be refused.

use std::path::{Path, PathBuf};
use std::time::Instant;

use common::data::reference_dir;
use common::pickle::{Pickle, legacy, state_dict, zip};
use proptest::prelude::*;
use sv_models::ModelError;
use sv_models::checkpoint::{Format, Problem, Scalar, StateDict};

/// Small files that PyTorch wrote; `make.py` beside them is the script.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/checkpoints").join(name)
}

fn reference(name: &str) -> Option<PathBuf> {
    Some(reference_dir()?.join("checkpoints").join(name))
}

fn problem(result: Result<StateDict, ModelError>) -> Problem {
    match result {
        Err(ModelError::Checkpoint { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

fn assert_equal(got: &StateDict, expected: &StateDict) {
    assert_eq!(got.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>());
    for (name, tensor) in got.iter() {
        assert!(Some(tensor) == expected.get(name), "{name}: {tensor:?}");
    }
}

#[test]
fn every_layout_and_dtype_that_pytorch_writes_is_read_exactly() {
    let expected = StateDict::read(&golden("expected.safetensors")).unwrap();
    assert_eq!(expected.len(), 18);
    for (name, format, location) in [
        ("zip.pt", Format::PytorchZip, &["model_state"] as &[&str]),
        ("deflated.pt", Format::PytorchZip, &["model_state"]),
        ("legacy.pt", Format::PytorchLegacy, &["model_state"]),
        ("protocol4.pt", Format::PytorchZip, &[]),
        ("legacy_protocol4.pt", Format::PytorchLegacy, &[]),
    ] {
        let got = StateDict::read(&golden(name)).unwrap();
        assert_equal(&got, &expected);
        assert_eq!(
            (got.format(), got.location()),
            (format, &*location.iter().map(|&key| key.to_owned()).collect::<Vec<_>>()),
            "{name}"
        );
    }
}

#[test]
fn plain_values_beside_the_tensors_are_kept() {
    for name in ["zip.pt", "legacy.pt"] {
        let scalars = StateDict::read(&golden(name)).unwrap().scalars().clone();
        let expected = [
            ("done", Scalar::Bool(false)),
            ("kind", Scalar::Text("lstm".to_owned())),
            ("rate", Scalar::Float(1e-4)),
            ("step", Scalar::Int(12)),
        ];
        assert_eq!(scalars.into_iter().collect::<Vec<_>>(), expected.map(|(key, value)| (key.to_owned(), value)));
    }
}

#[test]
fn floats_of_every_width_become_f32() {
    let dict = StateDict::read(&golden("zip.pt")).unwrap();
    assert_eq!(dict.f32("expanded", &[3, 2]).unwrap(), [0.5, -0.25, 0.5, -0.25, 0.5, -0.25]);
    assert_eq!(dict.f32("double", &[2]).unwrap(), [0.1, f32::NEG_INFINITY]);
    assert_eq!(dict.f32("half", &[4]).unwrap(), [0.099_975_586, -65504.0, 5.960_464_5e-8, f32::INFINITY]);
    assert_eq!(dict.f32("bfloat", &[3]).unwrap()[0], 0.100_097_656);
    let error = dict.f32("int64", &[2]).unwrap_err();
    assert!(matches!(error, ModelError::TensorDtype { .. }), "{error}");
}

#[test]
fn a_dictionary_can_be_named_by_its_keys() {
    let named = StateDict::read_within(&golden("zip.pt"), &["model_state"]).unwrap();
    assert_equal(&named, &StateDict::read(&golden("expected.safetensors")).unwrap());
    let error = problem(StateDict::read_within(&golden("zip.pt"), &["model", "state"]));
    assert_eq!(error.to_string(), "no dictionary \"model.state\" with tensors inside; there are: model_state");
}

#[test]
fn reference_checkpoints_hold_what_they_should() {
    let Some(expected) = reference("expected.safetensors") else { return };
    let expected = StateDict::read(&expected).unwrap();
    assert_eq!(expected.len(), 13);
    for name in ["zip.pt", "legacy.pt", "protocol4.pt", "nested.pt"] {
        assert_equal(&StateDict::read(&reference(name).unwrap()).unwrap(), &expected);
    }
    let nested = StateDict::read(&reference("nested.pt").unwrap()).unwrap();
    assert_eq!(nested.location(), ["model", "state"]);
    assert_eq!((&nested.scalars()["epoch"], &nested.scalars()["optimizer.lr"]), (&Scalar::Int(3), &Scalar::Float(0.1)));
    let parameters = StateDict::read(&reference("parameters.pt").unwrap()).unwrap();
    assert_eq!((parameters.len(), parameters.get("a.weight")), (1, expected.get("a.weight")));
}

#[test]
fn modules_and_programs_are_refused_with_advice() {
    let Some(module) = reference("whole_module.pt") else { return };
    let refused = problem(StateDict::read(&module));
    assert!(
        matches!(&refused, Problem::WholeModule { class } if class == "torch.nn.modules.linear.Linear"),
        "{refused}"
    );
    assert!(refused.to_string().contains("state_dict()"), "{refused}");
    let refused = problem(StateDict::read(&reference("torchscript.pt").unwrap()));
    assert!(matches!(refused, Problem::TorchScript), "{refused}");
}

#[test]
fn each_hostile_file_is_refused_for_what_it_does() {
    let Some(folder) = reference("hostile") else { return };
    type Told = fn(&Problem) -> bool;
    let told: [(&str, Told); 15] = [
        ("bomb.pt", |p| matches!(p, Problem::TooLarge { got: 20_000_002, .. })),
        ("deep_list.pt", |p| matches!(p, Problem::NoStateDict { .. })),
        ("deep_tuple.pt", |p| matches!(p, Problem::NoStateDict { .. })),
        ("empty_stack.pt", |p| matches!(p, Problem::Pickle { .. })),
        ("huge_shape.pt", |p| matches!(p, Problem::Layout { .. })),
        ("huge_string.pt", |p| matches!(p, Problem::EndsEarly { need: 0xffff_ffff, .. })),
        ("laughs.pt", |p| matches!(p, Problem::NoStateDict { .. })),
        ("long.pt", |p| matches!(p, Problem::Pickle { .. })),
        ("negative_offset.pt", |p| matches!(p, Problem::Pickle { .. })),
        ("no_bytes.pt", |p| matches!(p, Problem::EndsEarly { .. })),
        ("path_traversal.pt", |p| matches!(p, Problem::UnsafeName { name } if name == "../../../passwd")),
        (
            "reduce.pt",
            |p| matches!(p, Problem::ForbiddenGlobal { module, name } if module == "posix" && name == "system"),
        ),
        ("short_arguments.pt", |p| matches!(p, Problem::Pickle { .. })),
        ("truncated.pt", |p| matches!(p, Problem::Zip { .. })),
        ("truncated_legacy.pt", |p| matches!(p, Problem::EndsEarly { .. })),
    ];
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), told.len(), "a hostile file that is not tested");
    for (name, expected) in told {
        let start = Instant::now();
        let refused = problem(StateDict::read(&folder.join(name)));
        assert!(expected(&refused), "{name}: {refused:?}");
        assert!(start.elapsed().as_millis() < 1000, "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn the_resemblyzer_checkpoint_holds_what_was_read_from_it() {
    let Some(folder) = reference_dir() else { return };
    let file = folder.join("resemblyzer_pretrained.pt");
    let start = Instant::now();
    let dict = StateDict::read(&file).unwrap();
    eprintln!("resemblyzer_pretrained.pt read in {:?}", start.elapsed());
    assert_eq!((dict.format(), dict.location()), (Format::PytorchLegacy, &["model_state".to_owned()] as &[String]));
    assert_eq!(dict.scalars()["step"], Scalar::Int(1_564_501));
    assert_eq!(dict.len(), 16);
    for (layer, inputs) in [(0, 40), (1, 256), (2, 256)] {
        assert_eq!(dict.get(&format!("lstm.weight_ih_l{layer}")).unwrap().shape, [1024, inputs]);
        assert_eq!(dict.get(&format!("lstm.weight_hh_l{layer}")).unwrap().shape, [1024, 256]);
        assert_eq!(dict.get(&format!("lstm.bias_ih_l{layer}")).unwrap().shape, [1024]);
        assert_eq!(dict.get(&format!("lstm.bias_hh_l{layer}")).unwrap().shape, [1024]);
    }
    let begins = |name: &str, shape: &[usize], expected: &[f32]| {
        let values = dict.f32(name, shape).unwrap();
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() <= 1e-7 * expected.abs().max(1.0), "{name}: {value} {expected}");
        }
    };
    begins("similarity_weight", &[1], &[70.892_914]);
    begins("similarity_bias", &[1], &[-4.180_733]);
    begins("linear.weight", &[256, 256], &[-0.168_935_87, -0.130_927_68, 0.133_245_81]);
    begins("linear.bias", &[256], &[-0.070_617_74, -0.081_191_77, -0.066_867_9]);
    begins("lstm.weight_ih_l0", &[1024, 40], &[0.042_865_8, -0.305_694_2, 0.091_937_9]);
}

#[test]
fn checkpoints_of_the_other_systems_are_read() {
    let Some(folder) = reference_dir() else { return };
    for (name, tensors, one) in [
        ("ecapa_tiny/mean_var_norm_emb.ckpt", 2, "glob_mean"),
        ("ecapa_tiny/classifier.ckpt", 1, "weight"),
        ("ecapa_tiny/embedding_model.ckpt", 0, "fc.conv.bias"),
        ("xvector_tiny/embedding_model.ckpt", 0, "blocks.0.conv.bias"),
        ("wespeaker_resnet34_tiny/avg_model.pt", 0, "projection.weight"),
        ("wespeaker_ecapa_tiny/avg_model.pt", 0, "projection.weight"),
        ("taoruijie_ecapa_tiny.model", 0, "speaker_loss.weight"),
    ] {
        let dict = StateDict::read(&folder.join(name)).unwrap();
        assert!(
            dict.contains(one) && (tensors == 0 || dict.len() == tensors),
            "{name}: {:?}",
            dict.names().collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_is_no_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = StateDict::read(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::NotAFile { .. }), "{error}");
    let error = StateDict::read(&folder.path().join("none.pt")).unwrap_err();
    assert!(matches!(&error, ModelError::Read { .. }) && error.to_string().contains("none.pt"), "{error}");
    for text in [&b""[..], b"RIFF....WAVEfmt ", b"<html>"] {
        assert!(matches!(problem(StateDict::from_bytes("text", text)), Problem::UnknownFormat { .. }));
    }
}

/// A zip checkpoint whose pickle returns what `object` makes; storage 0 holds 1, 2, 3, 4.
fn checkpoint(object: Pickle) -> Vec<u8> {
    zip(&[("a/data.pkl", &Pickle::default().raw(b"\x80\x02").raw(&object.0).raw(b".").0), ("a/data/0", &four())])
}

fn four() -> Vec<u8> {
    [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn object() -> Pickle {
    Pickle::default()
}

/// A dictionary with one tensor, `w`.
fn weights() -> Pickle {
    object().raw(b"}").text("w").tensor("FloatStorage", "0", 4, 0, &[4], &[1]).raw(b"s")
}

/// A dictionary of dictionaries of tensors.
fn holding(keys: &[&str]) -> Pickle {
    keys.iter().fold(object().raw(b"}"), |pickle, key| pickle.text(key).raw(&weights().0).raw(b"s"))
}

#[test]
fn the_dictionary_is_chosen_by_its_name_or_because_it_is_the_only_one() {
    for (keys, chosen) in [
        (&["model", "optimizer"][..], "model"),
        (&["state", "model", "state_dict", "model_state"], "model_state"),
        (&["ema", "state_dict", "model"], "state_dict"),
        (&["encoder"], "encoder"),
    ] {
        let dict = StateDict::from_bytes("made", &checkpoint(holding(keys))).unwrap();
        assert_eq!(dict.location(), [chosen], "{keys:?}");
        assert_eq!(dict.f32("w", &[4]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }
    // A wrapper beside tensors of the outermost dictionary, and a wrapper that leads nowhere.
    let beside = object().raw(b"}").text("mean").tensor("FloatStorage", "0", 4, 0, &[1], &[1]).raw(b"s");
    let dict =
        StateDict::from_bytes("made", &checkpoint(beside.clone().text("model").raw(&weights().0).raw(b"s"))).unwrap();
    assert_eq!(dict.location(), ["model"]);
    let dict = StateDict::from_bytes("made", &checkpoint(beside.text("state").raw(b"}s"))).unwrap();
    assert_eq!((dict.location().len(), dict.names().collect::<Vec<_>>()), (0, vec!["mean"]));
    let inner = object().raw(b"}").text("net").raw(&holding(&["encoder"]).0).raw(b"s");
    assert_eq!(StateDict::from_bytes("made", &checkpoint(inner)).unwrap().location(), ["net", "encoder"]);
}

#[test]
fn several_dictionaries_without_a_usual_name_are_listed() {
    let refused = problem(StateDict::from_bytes("made", &checkpoint(holding(&["generator", "discriminator"]))));
    assert_eq!(
        refused.to_string(),
        "several dictionaries hold tensors: generator, discriminator; name the one to read"
    );
    let inner = object().raw(b"}").text("net").raw(&holding(&["a", "b"]).0).raw(b"s");
    let refused = problem(StateDict::from_bytes("made", &checkpoint(inner)));
    assert!(matches!(&refused, Problem::Ambiguous { candidates } if *candidates == ["net.a", "net.b"]), "{refused}");
}

#[test]
fn a_dictionary_that_contains_itself_is_searched_once() {
    let knot = object()
        .raw(b"}q\x00")
        .text("self")
        .raw(b"h\x00s")
        .text("w")
        .tensor("FloatStorage", "0", 4, 0, &[4], &[1])
        .raw(b"s");
    assert_eq!(StateDict::from_bytes("made", &checkpoint(knot)).unwrap().len(), 1);
    let empty = object().raw(b"}q\x00").text("self").raw(b"h\x00s");
    assert!(matches!(problem(StateDict::from_bytes("made", &checkpoint(empty))), Problem::NoStateDict { .. }));
}

#[test]
fn storages_that_are_absent_misnamed_or_of_another_size_are_refused() {
    let tensor = |key: &str, elements: usize| {
        object().raw(b"}").text("w").tensor("FloatStorage", key, elements, 0, &[1], &[1]).raw(b"s")
    };
    for (object, expected) in [
        (tensor("0", 5), "storage \"0\" should hold 20 bytes and holds 16"),
        (tensor("0", 1), "storage \"0\" should hold 4 bytes and holds 16"),
        (tensor("1", 4), "archive entry \"a/data/1\": it is not in the archive"),
        (tensor("a/b", 4), "refused: the name \"a/b\" could lead out of the archive"),
        (tensor("", 4), "refused: the name \"\" could lead out of the archive"),
    ] {
        assert_eq!(problem(StateDict::from_bytes("made", &checkpoint(object))).to_string(), expected);
    }
    let whole = |elements| object().raw(b"\x80\x02").raw(&tensor("0", elements).0).raw(b".").0;
    assert!(StateDict::from_bytes("made", &legacy(&whole(4), &[("0", 4, &four())])).is_ok());
    let refused = problem(StateDict::from_bytes("made", &legacy(&whole(5), &[("0", 4, &four())])));
    assert!(matches!(refused, Problem::StorageSize { need: 20, have: 16, .. }), "{refused}");
    let refused = problem(StateDict::from_bytes("made", &legacy(&whole(4), &[])));
    assert!(matches!(refused, Problem::Entry { .. }), "{refused}");
    let refused = problem(StateDict::from_bytes("made", &legacy(&whole(4), &[("9", 4, &four()), ("0", 4, &four())])));
    assert!(matches!(refused, Problem::Entry { .. }), "{refused}");
}

#[test]
fn archives_that_torch_did_not_write_are_refused() {
    let pickle = Pickle::default().raw(b"\x80\x02").raw(&weights().0).raw(b".").0;
    let four = four();
    let good: [(&str, &[u8]); 2] = [("a/data.pkl", &pickle), ("a/data/0", &four)];
    assert!(StateDict::from_bytes("made", &zip(&good)).is_ok());
    let refused = |more: (&str, &[u8])| problem(StateDict::from_bytes("made", &zip(&[good[0], good[1], more])));
    assert!(matches!(refused(("a/byteorder", b"big")), Problem::BigEndian));
    assert!(matches!(refused(("a/byteorder", b"middle")), Problem::Entry { .. }));
    assert!(matches!(refused(("../a", b"")), Problem::UnsafeName { name } if name == "../a"));
    assert!(matches!(refused(("/etc/passwd", b"")), Problem::UnsafeName { .. }));
    assert!(matches!(refused(("a/data/0", b"")), Problem::Entry { .. }), "an entry twice");
    assert!(matches!(refused(("b/data.pkl", b"N.")), Problem::Zip { .. }));
    assert!(matches!(refused(("a/constants.pkl", b"")), Problem::TorchScript));
    assert!(matches!(problem(StateDict::from_bytes("made", &zip(&[("text", b"")]))), Problem::Zip { .. }));
    // The same, with the two lengths of the directory beyond 32 bits: nothing is where the locator should be.
    let mut wide = zip(&good);
    let end = wide.len() - 22;
    wide[end + 12..end + 20].fill(0xff);
    assert!(matches!(problem(StateDict::from_bytes("made", &wide)), Problem::Zip { .. }));
    let mut encrypted = zip(&good);
    let record = encrypted.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    encrypted[record + 8] |= 1;
    assert!(matches!(
        problem(StateDict::from_bytes("made", &encrypted)),
        Problem::Entry { fault: "it is encrypted", .. }
    ));
}

#[test]
fn a_big_endian_legacy_file_is_refused() {
    let mut file = legacy(b"\x80\x02}.", &[]);
    let flag = file.windows(3).position(|window| window == b"\x88s.").unwrap();
    file[flag] = 0x89;
    assert!(matches!(problem(StateDict::from_bytes("made", &file)), Problem::BigEndian));
}

#[test]
fn a_plain_pickle_is_told_from_a_checkpoint() {
    let refused = problem(StateDict::from_bytes("plain", b"\x80\x02}."));
    assert!(refused.to_string().contains("not one that torch.save wrote"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_view_that_stays_inside_its_storage_is_read_by_its_definition(
        shape in proptest::collection::vec(0..5_usize, 0..5),
        strides in proptest::collection::vec(0..7_usize, 5),
        offset in 0..5_usize,
    ) {
        let strides = &strides[..shape.len()];
        let last: usize = shape.iter().zip(strides).map(|(&size, &stride)| size.saturating_sub(1) * stride).sum();
        let storage: Vec<f32> = (0..=offset + last).map(|value| value as f32).collect();
        let bytes: Vec<u8> = storage.iter().flat_map(|value| value.to_le_bytes()).collect();
        let pickle = object().raw(b"\x80\x02}").text("w").tensor("FloatStorage", "0", storage.len(), offset, &shape, strides).raw(b"s.").0;
        // The definition: element (i, j, ...) is at offset + i * stride_i + j * stride_j + ...
        let mut expected = vec![offset];
        for (&size, &stride) in shape.iter().zip(strides) {
            expected = expected.iter().flat_map(|&at| (0..size).map(move |index| at + index * stride)).collect();
        }
        let expected: Vec<f32> = expected.iter().map(|&at| storage[at]).collect();
        for file in [zip(&[("a/data.pkl", &pickle), ("a/data/0", &bytes)]), legacy(&pickle, &[("0", 4, &bytes)])] {
            let dict = StateDict::from_bytes("made", &file).unwrap();
            prop_assert_eq!(dict.f32("w", &shape).unwrap(), &*expected);
        }
    }

    #[test]
    fn what_is_written_as_safetensors_is_what_was_read(
        tensors in proptest::collection::btree_map("[a-z.]{0,6}", proptest::collection::vec(any::<f32>().prop_filter("comparable", |v| !v.is_nan()), 0..9), 0..6),
    ) {
        let shapes: Vec<[usize; 1]> = tensors.values().map(|values| [values.len()]).collect();
        let all: Vec<(&str, &[usize], &[f32])> = tensors.iter().zip(&shapes).map(|((name, values), shape)| (name.as_str(), &shape[..], &values[..])).collect();
        prop_assume!(!all.is_empty());
        let dict = StateDict::from_bytes("made", &state_dict(&all)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        sv_models::checkpoint::write(&path, &dict, &Default::default()).unwrap();
        let again = StateDict::read(&path).unwrap();
        prop_assert_eq!(again.len(), tensors.len());
        for (name, values) in &tensors {
            prop_assert_eq!(&again.f32(name, &[values.len()]).unwrap(), values);
        }
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_state_dict(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for head in [&b""[..], b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b"\x40\0\0\0\0\0\0\0{"] {
            let _ = StateDict::from_bytes("arbitrary", &[head, &bytes].concat());
        }
    }
}
