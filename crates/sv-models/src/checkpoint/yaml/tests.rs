//! What is read of YAML, and what is refused.

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Yaml {
    Yaml::parse(text).unwrap()
}

fn scalar(text: &str) -> Yaml {
    Yaml::Scalar { text: text.into(), quoted: false }
}

fn list(items: &[&str]) -> Yaml {
    Yaml::List(items.iter().map(|item| scalar(item)).collect())
}

#[test]
fn maps_lists_and_scalars_are_read() {
    let root = parsed(
        "# a comment\n---\na: 1   # one\nb:\n    c: two words\n    d: [1, 2,\n        3]\ne:\n- x\n- y\nf: {}\ng: {h: 1, 'i j': [ ]}\nk:\nl: '#no'\n",
    );
    assert_eq!(root.get("a").unwrap().number(), Some(1.0));
    let b = root.get("b").unwrap();
    assert_eq!(b.get("c").unwrap().text(), Some("two words"));
    assert_eq!(*b.get("d").unwrap(), list(&["1", "2", "3"]));
    assert_eq!(*root.get("e").unwrap(), list(&["x", "y"]));
    assert_eq!(*root.get("f").unwrap(), Yaml::Map(Vec::new()));
    assert_eq!(root.get("g").unwrap().get("i j"), Some(&Yaml::List(Vec::new())));
    assert!(root.get("k").unwrap().is_null());
    assert_eq!(root.get("l").unwrap().text(), Some("#no"));
}

#[test]
fn scalars_are_what_they_look_like_unless_quoted() {
    let root =
        parsed("a: False\nb: 'False'\nc: 1e-3\nd: null\ne: \"[0,1]\"\nf: inf\ng: it's\nh: 'it''s'\ni: \"a \\\" b\"\n");
    let value = |key| root.get(key).unwrap();
    assert_eq!((value("a").flag(), value("b").flag(), value("b").text()), (Some(false), None, Some("False")));
    assert_eq!((value("c").number(), value("f").number()), (Some(1e-3), None));
    assert!(value("d").is_null());
    assert_eq!(value("e").text(), Some("[0,1]"));
    assert_eq!((value("g").text(), value("h").text()), (Some("it's"), Some("it's")));
    assert_eq!(value("i").text(), Some("a \" b"));
}

#[test]
fn items_may_be_maps_and_lists() {
    let root = parsed("a:\n  - b: 1\n    c: 2\n  - - x\n    - y\n  -\n    d: 3\n");
    let Some(Yaml::List(items)) = root.get("a") else { panic!("{root:?}") };
    assert_eq!(items[0].get("c").unwrap().number(), Some(2.0));
    assert_eq!(items[1], list(&["x", "y"]));
    assert_eq!(items[2].get("d").unwrap().number(), Some(3.0));
}

#[test]
fn classes_and_references_are_kept_as_text() {
    let root = parsed("n: 80\na: !new:some.Class\n    n: !ref <n>\nb: !name:torch.nn.ReLU\nc: [!ref <n>, 2]\n");
    let Some(Yaml::Class { name, .. }) = root.get("a") else { panic!("{root:?}") };
    assert_eq!(name, "some.Class");
    assert_eq!(root.get("a").unwrap().get("n"), Some(&Yaml::Reference("<n>".into())));
    assert!(matches!(root.get("b"), Some(Yaml::Class { name, .. }) if name == "torch.nn.ReLU"));
    assert!(matches!(root.get("c"), Some(Yaml::List(items)) if items[0] == Yaml::Reference("<n>".into())));
}

#[test]
fn tags_that_would_run_something_are_refused_by_name() {
    for tag in ["!apply:os.system", "!!python/object/apply:os.system", "!new:", "!include:x", "!"] {
        for text in [format!("a: 1\nb: {tag} [x]\n"), format!("b: [1, {tag}]\n")] {
            let error = Yaml::parse(&text).unwrap_err();
            assert!(matches!(&error, YamlProblem::Tag { tag: named, .. } if named == tag), "{text}: {error}");
        }
    }
}

#[test]
fn what_is_no_such_yaml_is_refused_with_its_line() {
    for (text, line) in [
        ("a: 1\n  b: 2\n", 2),
        ("a:\n    b: 1\n  c: 2\n", 3),
        ("a: [1, 2\n", 1),
        ("a: 1]\n", 1),
        ("a: [1 2] 3\n", 1),
        ("a: {b}\n", 1),
        ("a: 'x\n", 1),
        ("just text\n", 1),
        ("a: |\n  text\n", 1),
        ("a: &x 1\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("a:\n\tb: 1\n", 2),
        ("a: 1\na: 2\n", 2),
        ("a: {b: 1, b: 2}\n", 1),
        ("a: \"\\x41\"\n", 1),
    ] {
        let error = Yaml::parse(text).unwrap_err();
        assert!(error.to_string().starts_with(&format!("line {line}:")), "{text:?}: {error}");
    }
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let deep = format!("a: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(Yaml::parse(&deep), Err(YamlProblem::TooLarge { what: "levels", .. })));
    let nested: String = (0..1_000).map(|level| format!("{}k:\n", " ".repeat(level))).collect();
    assert!(matches!(Yaml::parse(&nested), Err(YamlProblem::TooLarge { what: "levels", .. })));
    let dashes = format!("{}x\n", "- ".repeat(10_000));
    assert!(matches!(Yaml::parse(&dashes), Err(YamlProblem::TooLarge { what: "levels", .. })));
    let many = format!("a: [{}]\n", "1,".repeat(200_000));
    assert!(matches!(Yaml::parse(&many), Err(YamlProblem::TooLarge { what: "values", .. })));
    assert_eq!(Yaml::parse("").unwrap(), Yaml::Map(Vec::new()));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = Yaml::parse(&text);
    }

    #[test]
    fn no_text_of_yamls_own_characters_makes_it_panic(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b", ": ", ":", "- ", "-", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ",", "'", "\"", "\\", "#", " #",
                "!ref <a>", "!new:x.Y", "!", "|", "&", "---", "1", "\t", "\u{e9}", "\r\n",
            ]),
            0..60,
        ),
    ) {
        let _ = Yaml::parse(&pieces.concat());
    }

    #[test]
    fn what_is_written_is_read_back(entries in prop::collection::btree_map("[a-z]{1,8}", -1_000_000_i64..1_000_000, 0..20)) {
        let text: String = entries.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let root = Yaml::parse(&text).unwrap();
        for (key, value) in &entries {
            prop_assert_eq!(root.get(key).and_then(Yaml::number), Some(*value as f64));
        }
        prop_assert_eq!(root.entries().len(), entries.len());
    }
}
