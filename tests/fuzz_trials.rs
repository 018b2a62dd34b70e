//! The trial-list parser over its corpus and mutations of it: what the fuzz target calls, for a bounded number of inputs.

use std::path::Path;

use common::mutate::mutations;

#[path = "fuzz/calls/trials.rs"]
mod trials;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/trials");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

#[test]
fn the_corpus_and_mutations_of_it_are_lists_or_errors() {
    let seeds = corpus();
    assert!(seeds.len() >= 8, "the corpus is gone");
    for (stream, seed) in seeds.iter().enumerate() {
        trials::call(seed);
        for bytes in mutations(seed, 4000, stream as u64) {
            trials::call(&bytes);
        }
    }
}
