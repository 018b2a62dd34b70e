//! No checkpoint, however made, takes more than a second or 64 MiB to be refused, or panics. Alone in its binary: it counts all memory.
//!
//! `SV_FUZZ_ROUNDS` sets how many mutations of each seed are tried (2,000 otherwise; 300,000 take several minutes).

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::data::reference_dir;
use common::mutate::mutations;
use common::pickle::{Pickle, legacy, zip};
use sv_models::checkpoint::StateDict;

#[path = "fuzz/calls/checkpoint.rs"]
mod checkpoint;

const MOST_BYTES: usize = 64 << 20;
const LONGEST: Duration = Duration::from_secs(1);
/// For the files made here, some of which are read and laid out whole; wide, since other work may share the machine.
const NO_HANG: Duration = Duration::from_secs(10);

/// The system's allocator, with the bytes in use and their maximum.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    PEAK.fetch_max(IN_USE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; only counters are added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may exist while one is copied to the other.
        grown(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        IN_USE.fetch_sub(layout.size(), Relaxed);
        moved
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `read`, its result included; gives the time and the memory that it took at most.
fn cost<T>(read: impl FnOnce() -> T) -> (T, Duration, usize) {
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let start = Instant::now();
    let result = read();
    (result, start.elapsed(), PEAK.load(Relaxed) - before)
}

// One test, since tests of one binary run side by side and share the counters.
#[test]
fn no_checkpoint_takes_more_than_a_second_or_64_mib() {
    if let Some(folder) = reference_dir() {
        for file in std::fs::read_dir(folder.join("checkpoints/hostile")).unwrap() {
            let path = file.unwrap().path();
            let (result, time, bytes) = cost(|| StateDict::read(&path));
            eprintln!("{:>10.3?} {:>10} bytes  {}", time, bytes, path.file_name().unwrap().display());
            assert!(
                result.is_err() && time < LONGEST && bytes < MOST_BYTES,
                "{}: {time:?}, {bytes} bytes",
                path.display()
            );
        }
    }
    for (name, file) in greedy() {
        let (accepted, time, bytes) = cost(|| checkpoint::call(&file));
        eprintln!(
            "{time:>10.3?} {bytes:>10} bytes  {name} ({} bytes, {})",
            file.len(),
            if accepted { "read" } else { "refused" }
        );
        assert!(time < NO_HANG && bytes < MOST_BYTES, "{name}: {time:?}, {bytes} bytes");
    }
    let rounds = std::env::var("SV_FUZZ_ROUNDS").map_or(2_000, |rounds| rounds.parse().expect("a number"));
    for corpus in ["fuzz/corpus/pickle", "fuzz/corpus/safetensors", "golden/checkpoints"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(corpus);
        let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert!(seeds.len() >= 4, "{corpus} is not there");
        let (mut accepted, mut worst) = (0, (Duration::ZERO, 0));
        for (stream, seed) in seeds.iter().enumerate() {
            let broken = mutations(seed, rounds, stream as u64);
            for (round, file) in std::iter::once(seed.clone()).chain(broken).enumerate() {
                let (read, time, bytes) = cost(|| checkpoint::call(&file));
                let place = || format!("{}, round {round}: {time:?}, {bytes} bytes", paths[stream].display());
                assert!(time < NO_HANG && bytes < MOST_BYTES, "{}", place());
                accepted += usize::from(read);
                worst = (worst.0.max(time), worst.1.max(bytes));
            }
        }
        eprintln!(
            "{corpus}: {} inputs, {accepted} read, at most {:?} and {} bytes",
            rounds * seeds.len(),
            worst.0,
            worst.1
        );
    }
}

/// Files within the format that try to make each limit as dear as they can.
fn greedy() -> Vec<(&'static str, Vec<u8>)> {
    let head = || Pickle::default().raw(b"\x80\x02");
    let archive = |pickle: Pickle| zip(&[("a/data.pkl", &pickle.0), ("a/data/0", &[0; 64])]);
    let one = |name: &str, shape: &[usize], strides: &[usize]| {
        head().raw(b"}").text(name).tensor("FloatStorage", "0", 16, 0, shape, strides).raw(b"s")
    };
    let memo_tensor = |shape: &[usize], strides: &[usize]| {
        head().raw(b"}q\x000").tensor("FloatStorage", "0", 16, 0, shape, strides).raw(b"q\x010h\x00")
    };
    let each = |pickle: Pickle, count: usize, entry: &dyn Fn(Pickle, usize) -> Pickle| {
        (0..count).fold(pickle, entry).raw(b".")
    };
    vec![
        ("a tensor expanded to 16 GiB", archive(one("a", &[1 << 32], &[0]).raw(b"."))),
        ("a tensor expanded to 16 MiB", archive(one("a", &[1 << 22], &[0]).raw(b"."))),
        ("a name of 3 MB", archive(one(&"n".repeat(3_000_000), &[16], &[1]).raw(b"."))),
        (
            "100 tensors expanded to 16 MiB each",
            archive(each(memo_tensor(&[1 << 22], &[0]), 100, &|pickle, index| {
                pickle.text(&index.to_string()).raw(b"h\x01s")
            })),
        ),
        (
            "60,000 names of one tensor of eight axes",
            archive(each(memo_tensor(&[1; 8], &[1; 8]), 60_000, &|pickle, index| {
                pickle.text(&index.to_string()).raw(b"h\x01s")
            })),
        ),
        (
            "100,000 names of one tensor",
            archive(each(memo_tensor(&[1], &[1]), 100_000, &|pickle, index| {
                pickle.text(&index.to_string()).raw(b"h\x01s")
            })),
        ),
        ("80,000 lists with one item", archive(head().raw(&b"]Na".repeat(80_000)).raw(b"."))),
        (
            "240,000 references in a list",
            archive(head().raw(b"Nq\x010](").raw(&b"h\x01".repeat(240_000)).raw(b"e.").raw(b".")),
        ),
        (
            "100,000 plain values",
            archive(each(head().raw(b"}"), 100_000, &|pickle, index| pickle.text(&index.to_string()).raw(b"Ns"))),
        ),
        (
            "100,000 numbers by name",
            archive(each(head().raw(b"}"), 100_000, &|pickle, index| pickle.text(&index.to_string()).raw(b"\x88s"))),
        ),
        (
            "20,000 dictionaries",
            archive(each(head().raw(b"}"), 20_000, &|pickle, index| pickle.text(&index.to_string()).raw(b"}s"))),
        ),
        (
            "200 dictionaries inside each other",
            archive(
                (0..200)
                    .fold(head(), |pickle, _| pickle.raw(b"}").text("d"))
                    .raw(b"N")
                    .raw(&b"s".repeat(200))
                    .raw(b"."),
            ),
        ),
        (
            "a long text under many names",
            archive(each(
                head().raw(b"}q\x000").text(&"t".repeat(1_000_000)).raw(b"q\x010h\x00"),
                1000,
                &|pickle, index| pickle.text(&index.to_string()).raw(b"h\x01s"),
            )),
        ),
        ("a long tuple as arguments, 1000 times", {
            let tuple = head().raw(b"(").raw(&b"N".repeat(200_000)).raw(b"tq\x010");
            archive(tuple.raw(&b"ctorch\nSize\nh\x01R0".repeat(1000)).raw(b"N."))
        }),
        ("60,000 archive entries", {
            let names: Vec<String> = (0..60_000).map(|index| format!("a/{index}")).collect();
            let mut entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
            entries.push(("a/data.pkl", b"N."));
            zip(&entries)
        }),
        ("a legacy file of four long pickles", {
            let long = [&b"\x80\x02}"[..], &b"]Na0".repeat(200_000), b"."].concat();
            legacy(&long, &[])
        }),
        ("a safetensors header of 4 MB of sizes", {
            let header =
                format!(r#"{{"a":{{"dtype":"U8","shape":[{}0],"data_offsets":[0,0]}}}}"#, "0,".repeat(2_000_000));
            [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
        }),
        ("a safetensors header of 60,000 tensors", {
            let entries: Vec<String> = (0..60_000)
                .map(|index| format!(r#""{index}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
                .collect();
            let header = format!("{{{}}}", entries.join(","));
            [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
        }),
        ("a safetensors header of nested lists", {
            let header = format!(r#"{{"a":{}"#, "[".repeat(1_000_000));
            [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
        }),
    ]
}
