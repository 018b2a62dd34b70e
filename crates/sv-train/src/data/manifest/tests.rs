//! What manifests are read and refused.

use super::*;

fn read(bytes: &[u8]) -> Result<Manifest, TrainError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.tsv");
    std::fs::write(&path, bytes).unwrap();
    Manifest::read(&path, Path::new("/corpus"))
}

fn refusal(text: &[u8]) -> DataError {
    match read(text) {
        Err(TrainError::Data(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_come_in_any_order_and_optional_ones_may_lack() {
    let manifest = read(b"speaker\tpath\tsplit\r\na\tx/1.ogg\ttrain\r\n\nb\ty.ogg\ttest").unwrap();
    assert_eq!(manifest.root, Path::new("/corpus"));
    assert_eq!(manifest.speakers(), ["a", "b"]);
    let entry = &manifest.entries[0];
    assert_eq!(entry.recording, Recording::File("x/1.ogg".into()));
    assert_eq!((entry.split.as_str(), entry.corpus.as_str(), entry.seconds), ("train", "", None));
    let full = read(b"path\tcorpus\tsplit\tspeaker\tphrase\tseconds\nx\tc\ts\ta\tA\t1.5\ny\tc\ts\ta\t\t\n").unwrap();
    assert_eq!((full.entries[0].phrase.as_deref(), full.entries[0].seconds), (Some("A"), Some(1.5)));
    assert_eq!((full.entries[1].phrase.as_deref(), full.entries[1].seconds), (None, None));
}

#[test]
fn headers_with_unknown_repeated_or_missing_columns_are_refused() {
    assert!(
        matches!(refusal(b"path\tspeaker\tsplit\tage\n"), DataError::UnknownColumn { column, .. } if column == "age")
    );
    assert!(
        matches!(refusal(b"path\tspeaker\tsplit\tpath\n"), DataError::UnknownColumn { column, .. } if column == "path")
    );
    assert!(matches!(refusal(b"path\tspeaker\n"), DataError::MissingColumn { column: "split", .. }));
    assert!(matches!(refusal(b""), DataError::MissingColumn { column: "path", .. }));
}

#[test]
fn bad_lines_are_named() {
    let with = |line: &str| format!("path\tspeaker\tsplit\tseconds\nok\ta\ttrain\t1\n{line}\n").into_bytes();
    assert!(matches!(refusal(&with("x\ta\ttrain")), DataError::Fields { line: 3, got: 3, need: 4, .. }));
    for (line, name) in [
        ("../x\ta\ttrain\t1", "path"),
        ("y/../x\ta\ttrain\t1", "path"),
        ("/etc/passwd\ta\ttrain\t1", "path"),
        ("\ta\ttrain\t1", "path"),
        ("x\t\ttrain\t1", "speaker"),
        ("x\ta\t\t1", "split"),
        ("x\ta\ttrain\tlong", "seconds"),
        ("x\ta\ttrain\tNaN", "seconds"),
        ("x\ta\ttrain\t-1", "seconds"),
    ] {
        let error = refusal(&with(line));
        assert!(matches!(&error, DataError::Field { line: 3, column, .. } if *column == name), "{line}: {error:?}");
    }
    assert!(matches!(refusal(&with("ok\tb\ttest\t1")), DataError::Duplicate { line: 3, first: 2, .. }));
}

#[test]
fn what_is_no_text_or_has_no_end_is_refused() {
    assert!(matches!(refusal(b"path\tspeaker\tsplit\nx\0\ta\ttrain\n"), DataError::NotText { line: 2, .. }));
    assert!(matches!(refusal(b"path\tspeaker\tsplit\n\xff\ta\ttrain\n"), DataError::NotText { line: 2, .. }));
    let mut huge = b"path\tspeaker\tsplit\n".to_vec();
    huge.resize(huge.len() + 2 * MAX_LINE, b'x');
    assert!(matches!(refusal(&huge), DataError::ManifestSize { line: 2, .. }));
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Manifest::read(folder.path(), Path::new("")), Err(TrainError::Read { .. })));
}
