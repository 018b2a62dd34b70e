//! `sv eval --norm`: scores told by a cohort, compared with the same computed by hand.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test stops where its scene cannot be set")]

use std::path::Path;
use std::process::{Command, Output};

use common::model::{tiny_model, voice};
use serde_json::Value;
use tempfile::TempDir;

fn sv(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sv")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

/// Trials, a cohort of files, the same with speakers, and its scores by `arguments`.
fn normalised(folder: &Path, arguments: &[&str]) -> (Value, Vec<f64>) {
    let eval = ["eval", "--model", "m", "--trials", "trials", "--root", ".", "--scores", "scores", "--json"];
    let output = sv(&[&eval[..], arguments].concat(), folder);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    let scores = std::fs::read_to_string(folder.join("scores")).unwrap();
    (json(&output), scores.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect())
}

fn scene() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny_model(None).save(&folder.path().join("m")).unwrap();
    for (name, pitch, seed) in [("a", 120.0, 1), ("b", 121.0, 2), ("c", 230.0, 3)] {
        std::fs::write(folder.path().join(format!("{name}.wav")), voice(pitch, seed).to_wav()).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("trials", "1 a.wav b.wav\n0 a.wav c.wav\n0 b.wav c.wav\n");
    for (index, pitch) in [100.0, 140.0, 180.0, 260.0].into_iter().enumerate() {
        let wave = voice(pitch, 10 + index as u64).to_wav();
        std::fs::write(folder.path().join(format!("s{index}.wav")), wave).unwrap();
    }
    write("cohort", "s0.wav\ns1.wav\ns2.wav\ns3.wav\n");
    write("speakers", "s0.wav low\ns1.wav low\ns2.wav high\ns3.wav higher\n");
    folder
}

#[test]
fn scores_are_normalised_as_by_hand() {
    let folder = scene();
    let embedding = |file: &str| {
        let answer = json(&sv(&["embed", "--model", "m", file, "--json"], folder.path()));
        let values = answer["files"][0]["embedding"].as_array().unwrap().clone();
        values.iter().map(|value| value.as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let files = ["a", "b", "c", "s0", "s1", "s2", "s3"].map(|name| embedding(&format!("{name}.wav")));
    let [a, b, c, cohort @ ..] = &files;
    let cosine = |x: &[f64], y: &[f64]| {
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
    };
    // Mean and deviation of the `top` highest cosines of `x` with `cohort`, over n - `less`.
    let side = |x: &[f64], cohort: &[Vec<f64>], top: usize, less: usize| {
        let mut scores: Vec<f64> = cohort.iter().map(|member| cosine(x, member)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.truncate(top);
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        (mean, (squares / (scores.len() - less) as f64).sqrt())
    };
    let tell = |score: f64, (mean, deviation): (f64, f64)| (score - mean) / deviation;
    let near = |got: &[f64], expected: &[f64], what: &str| {
        assert_eq!(got.len(), expected.len(), "{what}");
        for (got, expected) in got.iter().zip(expected) {
            // Embeddings are printed, and centred, as f32; a small deviation makes the most of that.
            assert!((got - expected).abs() < 2e-4 * expected.abs().max(1.0), "{what}: {got}, not {expected}");
        }
    };

    let pairs = [(a, b), (a, c), (b, c)];
    for (kind, top) in [("z", 4), ("t", 4), ("s", 4), ("s", 3)] {
        let rows = pairs.map(|(x, y)| {
            let (e, t) = (tell(cosine(x, y), side(x, cohort, top, 1)), tell(cosine(x, y), side(y, cohort, top, 1)));
            match kind {
                "z" => e,
                "t" => t,
                _ => 0.5 * (e + t),
            }
        });
        let top = top.to_string();
        let (answer, scores) = normalised(folder.path(), &["--norm", kind, "--cohort", "cohort", "--top", &top]);
        near(&scores, &rows, kind);
        let norm = &answer["norm"];
        assert_eq!(
            (norm["kind"].as_str(), norm["cohort"].as_u64(), norm["mean"].as_u64()),
            (Some(kind), Some(4), Some(0))
        );
        assert_eq!((norm["top"].to_string(), norm["deviation"].as_str()), (top, Some("n-1")));
    }

    // WeSpeaker's form: members are means of speakers, minus the mean of a list, over n.
    let mean_of = |rows: &[&Vec<f64>]| {
        (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / rows.len() as f64).collect::<Vec<f64>>()
    };
    let minus = |row: &[f64], mean: &[f64]| row.iter().zip(mean).map(|(x, mean)| x - mean).collect::<Vec<f64>>();
    let middle = mean_of(&cohort.iter().collect::<Vec<_>>());
    let members =
        [mean_of(&[&cohort[0], &cohort[1]]), cohort[2].clone(), cohort[3].clone()].map(|row| minus(&row, &middle));
    let rows = pairs.map(|(x, y)| {
        let (x, y) = (minus(x, &middle), minus(y, &middle));
        let score = cosine(&x, &y);
        0.5 * (tell(score, side(&x, &members, 3, 0)) + tell(score, side(&y, &members, 3, 0)))
    });
    let arguments = ["--norm", "s", "--cohort", "speakers", "--mean", "cohort", "--top", "9"];
    let (answer, scores) = normalised(folder.path(), &arguments);
    near(&scores, &rows, "WeSpeaker's form");
    let norm = &answer["norm"];
    assert_eq!((norm["cohort"].as_u64(), norm["top"].as_u64(), norm["mean"].as_u64()), (Some(3), Some(3), Some(4)));
    assert_eq!(norm["deviation"], "n");
}

#[test]
fn a_cohort_that_cannot_normalise_is_refused() {
    let folder = scene();
    let fails = |list: &str, arguments: &[&str], word: &str| {
        std::fs::write(folder.path().join("bad"), list).unwrap();
        let eval = ["eval", "--model", "m", "--trials", "trials", "--root", ".", "--norm", "s", "--cohort", "bad"];
        let output = sv(&[&eval[..], arguments].concat(), folder.path());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{list:?}: {message}");
        assert!(message.contains(word), "{list:?}: {message}");
    };
    fails("# nobody\n", &[], "names no recording");
    fails("s0.wav low\ns1.wav\n", &[], "line 2");
    fails("s0.wav\n", &[], "no deviation");
    fails("s0.wav\ns1.wav\n", &["--top", "1"], "no deviation");
    fails("s0.wav\ns1.wav\n", &["--top", "0"], "--top");
    fails("gone.wav\n", &[], "gone.wav");
    fails("s0.wav\ns1.wav\n", &["--mean", "nothing"], "nothing");
    // One that cannot be read is named and left out; the rest is rated.
    std::fs::write(folder.path().join("bad"), "s0.wav\ngone.wav\ns1.wav\ns2.wav\n").unwrap();
    let eval =
        ["eval", "--model", "m", "--trials", "trials", "--root", ".", "--norm", "s", "--cohort", "bad", "--json"];
    let output = sv(&eval, folder.path());
    assert_eq!(output.status.code(), Some(2));
    let answer = json(&output);
    assert_eq!((answer["norm"]["cohort"].as_u64(), answer["trials"].as_u64()), (Some(3), Some(3)));
    assert!(answer["errors"][0]["path"].as_str().unwrap().contains("gone.wav"), "{answer}");
    // Neither option means anything without the other.
    for arguments in [["--norm", "s"], ["--cohort", "cohort"], ["--top", "3"]] {
        let eval = ["eval", "--model", "m", "--trials", "trials", "--root", "."];
        assert_eq!(sv(&[&eval[..], &arguments[..]].concat(), folder.path()).status.code(), Some(2));
    }
}
