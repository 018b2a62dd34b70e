use super::*;
use crate::checkpoint::Dtype;

fn root(pickle: &[u8]) -> String {
    let (tree, length) = run(pickle).unwrap();
    assert_eq!(length, pickle.len());
    format!("{:?}", tree.root())
}

fn refused(pickle: &[u8]) -> Problem {
    run(pickle).expect_err("a pickle that must be refused")
}

#[test]
fn plain_values_are_read() {
    for (pickle, expected) in [
        (&b"N."[..], "None"),
        (b"\x88.", "Bool(true)"),
        (b"K\xff.", "Int(255)"),
        (b"M\x01\x02.", "Int(513)"),
        (b"J\xff\xff\xff\xff.", "Int(-1)"),
        (b"\x8a\x00.", "Int(0)"),
        (b"\x8a\x01\x80.", "Int(-128)"),
        (b"\x8b\x02\x00\x00\x00\xff\x00.", "Int(255)"),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "Float(1.5)"),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x02ab\x94.", "Text(\"ab\")"),
        (b"X\x01\x00\x00\x00a.", "Text(\"a\")"),
        (b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", "Text(\"a\")"),
        (b"U\x01a.", "Text(\"a\")"),
        (b"U\x01\xff.", "Bytes"),
        (b"C\x01a.", "Bytes"),
    ] {
        assert_eq!(root(pickle), expected, "{}", pickle.escape_ascii());
    }
}

#[test]
fn collections_hold_what_was_put_in() {
    for (pickle, expected) in [
        (&b")."[..], "Tuple([])"),
        (b"K\x01K\x02K\x03\x87.", "Tuple([Id(0), Id(1), Id(2)])"),
        (b"(K\x01K\x02t.", "Tuple([Id(0), Id(1)])"),
        (b"](K\x01K\x02e.", "List([Id(1), Id(2)])"),
        (b"]K\x01a.", "List([Id(1)])"),
        (b"(K\x01l.", "List([Id(0)])"),
        (b"}K\x01K\x02s.", "Dict([(Id(1), Id(2))])"),
        (b"}(K\x01K\x02u.", "Dict([(Id(1), Id(2))])"),
        (b"(K\x01K\x02d.", "Dict([(Id(0), Id(1))])"),
        (b"ccollections\nOrderedDict\n)R.", "Dict([])"),
        (b"ctorch\nSize\nK\x05\x85\x85R.", "Tuple([Id(1)])"),
    ] {
        assert_eq!(root(pickle), expected, "{}", pickle.escape_ascii());
    }
    // Python 2 gave OrderedDict its entries as lists of two: [[5, 6]].
    assert_eq!(root(b"ccollections\nOrderedDict\n]](K\x05K\x06ea\x85R."), "Dict([(Id(3), Id(4))])");
}

#[test]
fn the_memo_and_the_stack_are_kept() {
    assert_eq!(root(b"K\x07q\x00K\x08h\x00\x86."), "Tuple([Id(1), Id(0)])");
    assert_eq!(root(b"K\x07r\x00\x01\x00\x000j\x00\x01\x00\x00."), "Int(7)");
    assert_eq!(root(b"K\x072\x86."), "Tuple([Id(0), Id(0)])");
    assert_eq!(root(b"K\x07(K\x08K\x091."), "Int(7)", "POP_MARK");
    assert_eq!(root(b"K\x07(0."), "Int(7)", "POP takes a mark");
}

#[test]
fn a_tensor_is_a_view_of_its_storage() {
    let pickle = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nHalfStorage\nX\x01\x00\x00\x003X\x03\x00\x00\x00cpuK\x09tQK\x02K\x03\x85K\x01\x85\x89}tR.";
    let (tree, _) = run(pickle).unwrap();
    let Node::Tensor(tensor) = tree.root() else { panic!("{:?}", tree.root()) };
    assert_eq!((tensor.offset, &*tensor.shape, &*tensor.strides), (2, &[3][..], &[1][..]));
    let storage = tree.storage(tensor.storage).unwrap();
    assert_eq!((storage.key, storage.dtype, storage.elements), ("3", Dtype::F16, 9));
}

#[test]
fn attributes_of_a_dictionary_are_dropped() {
    assert_eq!(root(b"ccollections\nOrderedDict\n)R}b."), "Dict([])");
    assert!(matches!(refused(b"]}b."), Problem::Pickle { offset: 2, .. }));
}

#[test]
fn whatever_a_state_dict_does_not_need_is_refused_by_name() {
    let problem = refused(b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00a\x85R.");
    assert_eq!(
        problem.to_string(),
        "refused: the pickle asks for `os.system`, which no state dict needs and which was not run; save `module.state_dict()` alone"
    );
    let problem = refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93.");
    assert!(matches!(problem, Problem::ForbiddenGlobal { module, name } if module == "os" && name == "system"));
    let problem = refused(b"\x80\x02}\x81.");
    assert!(matches!(problem, Problem::UnknownOpcode { opcode: 0x81, name: "NEWOBJ", offset: 3 }), "{problem}");
    let problem = refused(b"I1\n.");
    assert!(matches!(problem, Problem::UnknownOpcode { name: "INT", offset: 0, .. }), "{problem}");
    assert!(matches!(refused(b"\xf0"), Problem::UnknownOpcode { name: "unknown", .. }));
    assert!(matches!(refused(b"\x80\x05N."), Problem::Pickle { .. }));
}

#[test]
fn instructions_that_do_not_fit_each_other_are_faults() {
    for pickle in [
        &b"."[..],
        b"0.",
        b"(.",
        b"t.",
        b"e.",
        b"K\x01\x86.",
        b"K\x01(\x85.",
        b"K\x01a.",
        b"NK\x01a.",
        b"NNNs.",
        b"}(K\x01u.",
        b"h\x00.",
        b"q\x00.",
        b"2.",
        b"N)R.",
        b"ctorch\nSize\nNR.",
        b"ctorch\nSize\n)R.",
        b"ctorch\nFloatStorage\n)R.",
        b"ctorch._utils\n_rebuild_parameter\nN\x85R.",
        b"NQ.",
        b")Q.",
        b"NNN\x87Q.",
        b"KK\x93.",
        b"NN\x93.",
        b"X\x01\x00\x00\x00\xff.",
        b"\x8a\x09aaaaaaaaa.",
    ] {
        let problem = refused(pickle);
        assert!(matches!(problem, Problem::Pickle { .. }), "{}: {problem}", pickle.escape_ascii());
    }
    for pickle in [
        &b""[..],
        b"N",
        b"K",
        b"X\xff\xff\xff\xffab",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"cos",
        b"cos\nsys",
        b"\x8b\xff\xff\xff\xff",
        b"G1",
    ] {
        assert!(matches!(refused(pickle), Problem::EndsEarly { .. }), "{}", pickle.escape_ascii());
    }
}

#[test]
fn lists_inside_each_other_and_inside_themselves_are_dropped_without_recursion() {
    let deep = [b"]".repeat(200_000), b"a".repeat(199_999), b".".to_vec()].concat();
    drop(run(&deep).unwrap());
    assert_eq!(root(b"]q\x00h\x00a."), "List([Id(0)])");
}

#[test]
fn work_is_bounded_however_short_the_pickle() {
    let endless = b"N0".repeat(limits::STEPS);
    assert!(matches!(refused(&endless), Problem::TooLarge { .. }));
    for opcode in [&b"]"[..], b"(", b"N2"] {
        let many = opcode.repeat(limits::NODES + 1);
        assert!(matches!(refused(&many), Problem::TooLarge { .. }), "{}", opcode.escape_ascii());
    }
    let mut many_memos = b"N".to_vec();
    (0..=limits::NODES as u32).for_each(|index| many_memos.extend([&b"r"[..], &index.to_le_bytes()].concat()));
    assert!(matches!(refused(&many_memos), Problem::TooLarge { .. }));
    // A list of 50,000 pairs, copied by OrderedDict again and again.
    let mut copies = b"]q\x00(".to_vec();
    copies.extend(b"NN\x86".repeat(50_000));
    copies.extend(b"e0");
    copies.extend(b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(1000));
    assert!(matches!(refused(&copies), Problem::TooLarge { what: "pickle instructions", .. }));
}
