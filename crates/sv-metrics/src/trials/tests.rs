use proptest::prelude::*;

use super::*;

const ALL: [TrialFormat; 3] = [TrialFormat::VoxCeleb, TrialFormat::Kaldi, TrialFormat::VoxSrcBlind];

fn names(list: &Trials) -> Vec<(&str, &str, Option<Label>)> {
    list.iter().map(|trial| (trial.enrolment, trial.test, trial.label)).collect()
}

#[test]
fn every_format_is_read() {
    let target = Some(Label::Target);
    for (format, text, expected) in [
        (TrialFormat::VoxCeleb, "1 a b\n0 a c\n", [("a", "b", target), ("a", "c", Some(Label::NonTarget))]),
        (TrialFormat::Kaldi, "a b target\na c nontarget\n", [("a", "b", target), ("a", "c", Some(Label::NonTarget))]),
        (TrialFormat::VoxSrcBlind, "a b\na c\n", [("a", "b", None), ("a", "c", None)]),
    ] {
        let list = Trials::parse(text, format).expect("a list");
        assert_eq!(names(&list), expected);
        assert_eq!(list.files(), ["a", "b", "c"]);
        assert_eq!(list.to_string(), text);
        assert_eq!(list.format(), format);
    }
}

#[test]
fn windows_line_ends_marks_tabs_and_blank_lines_change_nothing() {
    let plain = Trials::parse("1 a b\n0 a c\n", TrialFormat::VoxCeleb).expect("a list");
    for text in
        ["\u{FEFF}1 a b\r\n0 a c\r\n", "1\ta\tb\n0\ta\tc", "  1  a b \n\n 0 \t a c\n\n \t\n", "1 a b\n0 a c\r\n\r\n"]
    {
        assert_eq!(Trials::parse(text, TrialFormat::VoxCeleb).as_ref(), Ok(&plain), "{text:?}");
    }
}

#[test]
fn one_name_in_two_folders_is_two_files() {
    let list = Trials::parse("1 a/1.wav b/1.wav\n0 b/1.wav a/1.wav\n", TrialFormat::VoxCeleb).expect("a list");
    assert_eq!(list.files(), ["a/1.wav", "b/1.wav"]);
    assert_eq!(list.pairs()[1], TrialPair { enrolment: 1, test: 0, label: Some(Label::NonTarget) });
}

#[test]
fn a_bad_line_is_named_with_its_content() {
    for (format, text, message) in [
        (
            TrialFormat::VoxCeleb,
            "1 a b\n\n1 a\n",
            "line 3: 2 fields, one of this format holds 3 and reads `1 enrolment.wav test.wav` (names may not hold white space): 1 a",
        ),
        (
            TrialFormat::VoxCeleb,
            "1 my file.wav b\n",
            "line 1: 4 fields, one of this format holds 3 and reads `1 enrolment.wav test.wav` (names may not hold white space): 1 my file.wav b",
        ),
        (
            TrialFormat::VoxSrcBlind,
            "1 a b",
            "line 1: 3 fields, one of this format holds 2 and reads `enrolment.wav test.wav` (names may not hold white space): 1 a b",
        ),
        (
            TrialFormat::VoxCeleb,
            "1 a b\n0 a c\na b target\n",
            "line 3: label `a`, this format's are 1 and 0; choose the list's own format or mend the line: a b target",
        ),
        (
            TrialFormat::Kaldi,
            "a b target\na b imposter\n",
            "line 2: label `imposter`, this format's are target and nontarget; choose the list's own format or mend the line: a b imposter",
        ),
    ] {
        assert_eq!(Trials::parse(text, format).expect_err(text).to_string(), message);
    }
}

#[test]
fn what_is_no_text_is_named_and_shown_harmlessly() {
    for (text, line, byte, content) in [
        (&b"1 a b\n1 \xFFa b\n"[..], 2, 3, "1 \u{FFFD}a b"),
        (b"1 a \x1B[31mb\n", 1, 5, "1 a \\u{1b}[31mb"),
        (b"1 a b\0\n", 1, 6, "1 a b\\u{0}"),
        (b"1 a b\r1 a c\r", 1, 6, "1 a b\\r1 a c"),
        (b"\xFF\xFE1\0 \0a\0", 1, 1, "\u{FFFD}\u{FFFD}1\\u{0} \\u{0}a\\u{0}"),
        (b"1 a \xEF\xBB\xBFb", 1, 5, "1 a \\u{feff}b"),
    ] {
        let error = Trials::parse(text, TrialFormat::VoxCeleb).expect_err("no text");
        assert_eq!(error, MetricsError::NotText { line, byte, content: content.to_string() });
    }
}

#[test]
fn a_long_bad_line_is_shortened() {
    for bytes in [vec![b'x'; 3_000_000], vec![0xFF; 3_000_000], b"a ".repeat(1_000_000)] {
        let message = Trials::parse(&bytes, TrialFormat::VoxCeleb).expect_err("no trial").to_string();
        assert!(message.len() < 600 && message.ends_with("..."), "{message}");
    }
    let german = "ü".repeat(100);
    let error = Trials::parse(&german, TrialFormat::VoxCeleb).expect_err("one field");
    assert!(error.to_string().ends_with(&format!(": {}...", "ü".repeat(80))), "{error}");
}

#[test]
fn a_list_without_trials_is_an_error() {
    for format in ALL {
        for text in ["", "\n", "\r\n \t \n\n", "\u{FEFF}"] {
            assert_eq!(Trials::parse(text, format), Err(MetricsError::NoTrials { format }));
        }
        assert_eq!(Trials::new([], format), Err(MetricsError::NoTrials { format }));
    }
}

#[test]
fn a_list_of_ones_own_is_checked() {
    let good = Trial { enrolment: "a", test: "b", label: Some(Label::Target) };
    for name in ["", "a b", "a\tb", "a\nb", "a\u{1b}", "\u{FEFF}a"] {
        for bad in [Trial { enrolment: name, ..good }, Trial { test: name, ..good }] {
            let error = Trials::new([good, bad], TrialFormat::Kaldi).expect_err(name);
            assert!(matches!(error, MetricsError::Name { trial: 1, .. }), "{error}");
        }
    }
    let blind = Trial { label: None, ..good };
    assert_eq!(Trials::new([good, blind], TrialFormat::VoxCeleb), Err(MetricsError::Unlabelled { trial: 1 }));
    let list = Trials::new([good, blind], TrialFormat::VoxSrcBlind).expect("labels are dropped");
    assert_eq!(list.to_string(), "a b\na b\n");
}

#[test]
fn a_score_file_has_the_lists_lines_and_the_scores() {
    let list = Trials::parse("1 a b\n0 a c\n", TrialFormat::VoxCeleb).expect("a list");
    let lines = |scores: &[f64]| list.score_lines(scores).map(|l| l.map(|l| l.to_string()).collect::<Vec<_>>());
    assert_eq!(lines(&[0.71, -1e-7]).expect("two scores"), ["1 a b 0.71", "0 a c -0.0000001"]);
    assert_eq!(lines(&[0.71]), Err(MetricsError::Count { what: "scores", got: 1, need: 2 }));
    let blind = Trials::parse("a b\n", TrialFormat::VoxSrcBlind).expect("a list");
    assert_eq!(blind.score_lines(&[0.5]).expect("one").next().expect("one").to_string(), "a b 0.5");
}

#[test]
fn missing_labels_are_an_error_and_no_guess() {
    let blind = Trials::parse("a b\na c\n", TrialFormat::VoxSrcBlind).expect("a list");
    assert_eq!(blind.scored(&[0.1, 0.2]).expect_err("blind"), MetricsError::Unlabelled { trial: 0 });
    let list = Trials::parse("1 a b\n0 a c\n", TrialFormat::VoxCeleb).expect("a list");
    assert_eq!(list.scored(&[0.2, 0.1]).expect("labelled").targets(), 1);
    assert_eq!(list.scored(&[0.2]).expect_err("short"), MetricsError::Count { what: "scores", got: 1, need: 2 });
}

fn some_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]", "[a-z/._-]{1,12}", "[^ \\p{Cc}\u{FEFF}]{1,6}"]
}

fn some_label() -> impl Strategy<Value = Option<Label>> {
    prop_oneof![Just(Some(Label::Target)), Just(Some(Label::NonTarget))]
}

proptest! {
    #[test]
    fn a_written_list_reads_as_it_was(rows in prop::collection::vec((some_name(), some_name(), some_label()), 1..30)) {
        for format in ALL {
            let trials = rows.iter().map(|(enrolment, test, label)| Trial { enrolment, test, label: *label });
            let list = Trials::new(trials, format).expect("plain names");
            let text = list.to_string();
            prop_assert_eq!(&Trials::parse(&text, format).expect("our own text"), &list);
            prop_assert_eq!(&Trials::parse(text.replace('\n', "\r\n"), format).expect("our own text"), &list);
        }
    }

    #[test]
    fn any_bytes_are_a_list_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in ALL {
            let _ = Trials::parse(&bytes, format).map_err(|error| error.to_string());
        }
    }

    #[test]
    fn near_lists_are_a_list_or_an_error(text in "([01 \t\r\nab\u{FEFF}\u{0}]|target|nontarget){0,60}") {
        for format in ALL {
            if let Ok(list) = Trials::parse(&text, format) {
                prop_assert_eq!(&Trials::parse(list.to_string(), format).expect("our own text"), &list);
                prop_assert!(list.pairs().iter().all(|p| p.enrolment.max(p.test) < list.files().len()));
            }
        }
    }
}

#[test]
fn files_joined_by_targets_are_one_speaker() {
    // a-b and b-c are targets, so a, b, c are one; d is another; e and f are a third.
    let text = "1 a b\n0 a d\n1 c b\n0 c d\n1 f e\n0 d e\n";
    let speakers = Trials::parse(text, TrialFormat::VoxCeleb).unwrap().speakers();
    assert_eq!(speakers[0].0, speakers[0].1);
    assert_eq!(speakers[2], speakers[0]);
    assert_eq!((speakers[1].0, speakers[3].0), (speakers[0].0, speakers[0].0));
    assert_ne!(speakers[1].0, speakers[1].1);
    assert_eq!(speakers[4].0, speakers[4].1);
    assert_ne!(speakers[5].0, speakers[5].1);
}
