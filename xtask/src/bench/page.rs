//! The sections of `docs/results.md` about speed.

use std::fmt::Write;

use super::{Results, ecapa, suite, training};
use crate::results::row;

pub(crate) fn section(page: &mut String, results: &Results) -> anyhow::Result<()> {
    writeln!(page, "\n## Speed against Resemblyzer, threads: {} a side\n", results.threads)?;
    writeln!(
        page,
        "{}. {} threads a side, {} interleaved runs, medians, in seconds.",
        results.machine, results.threads, results.runs
    )?;
    page.push_str("\"Decoding to embedding\" is timed after import and model load on both sides. Ratios below 1: ours is faster.\n\n");
    page.push_str("| trial list | files | ours | Resemblyzer | ratio | whole process, ours | Resemblyzer | ratio | least cosine |\n|---|---|---|---|---|---|---|---|---|\n");
    for row in &results.lists {
        let optional =
            |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
        writeln!(
            page,
            "| {} | {} | {:.3} | {} | {} | {:.3} | {} | {} | {} |",
            row.list,
            row.files,
            row.ours,
            optional(row.resemblyzer, 3),
            optional(row.resemblyzer.map(|theirs| row.ours / theirs), 2),
            row.ours_process,
            optional(row.resemblyzer_process, 3),
            optional(row.resemblyzer_process.map(|theirs| row.ours_process / theirs), 2),
            optional(row.least_cosine, 6),
        )?;
    }
    if let Some(start) = &results.start_up {
        writeln!(
            page,
            "\n`sv verify` on two WAV files of 3 s, model load from the PyTorch checkpoint included: {:.3} s. \
             `python -c \"import resemblyzer\"` alone: {:.3} s. Ratio {:.3}.",
            start.sv_verify,
            start.import_resemblyzer,
            start.sv_verify / start.import_resemblyzer
        )?;
    }
    Ok(())
}

/// The section about a suite.
pub(crate) fn suite_section(page: &mut String, results: &suite::Results) -> anyhow::Result<()> {
    writeln!(page, "\n## {}\n", results.title)?;
    write!(page, "{}", results.machine)?;
    if let Some(beside) = &results.beside {
        write!(page, " ({beside})")?;
    }
    writeln!(
        page,
        ". {}. {} interleaved runs, medians. The peer is {}. In brackets: the most of its time that is allowed. Made by \
         `cargo xtask bench --suite`.\n",
        results.about,
        results.runs,
        results.peer.as_deref().unwrap_or("not there"),
    )?;
    let remembers = results.cases.iter().any(|case| case.ours_peak.is_some());
    let mut head = vec!["case", "threads", "ours, ms", "peer, ms", "ratio", "fastest, ours", "fastest, peer"];
    if remembers {
        head.extend(["memory, ours, MiB", "memory, peer, MiB"]);
    }
    row(page, &head.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    row(page, &vec!["---".to_owned(); head.len()])?;
    let milliseconds = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.2}", 1e3 * value));
    let mebibytes = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.0}", value / f64::from(1 << 20)));
    for case in &results.cases {
        let ratio = |theirs: f64| format!("{:.2} (at most {:.1})", case.ours / theirs, case.most);
        let mut cells = vec![
            case.name.clone(),
            case.threads.to_string(),
            milliseconds(Some(case.ours)),
            milliseconds(case.theirs),
            case.theirs.map_or("-".into(), ratio),
            milliseconds(Some(case.ours_fastest)),
            milliseconds(case.theirs_fastest),
        ];
        if remembers {
            cells.extend([mebibytes(case.ours_peak), mebibytes(case.theirs_peak)]);
        }
        row(page, &cells)?;
    }
    Ok(())
}

/// The section about one window through an ECAPA-TDNN.
pub(crate) fn ecapa_section(page: &mut String, results: &ecapa::Results) -> anyhow::Result<()> {
    writeln!(page, "\n## Speed of ECAPA-TDNN, 1024 channels, {} frames\n", results.frames)?;
    write!(page, "{}", results.machine)?;
    if let Some(beside) = &results.beside {
        write!(page, " ({beside})")?;
    }
    writeln!(
        page,
        ". One window at a time, {} interleaved runs, medians. The peer is onnxruntime{} with the same network, exported from \
         SpeechBrain with opset 14 and a fixed length, without its lengths input. Memory is the most that the process had \
         resident, reading and packing of the model included. In brackets: the most of onnxruntime's time. Made by `cargo xtask \
         bench --ecapa DIR --peers PYTHON`.\n",
        results.runs,
        results.onnxruntime.as_ref().map_or(String::new(), |version| format!(" {version}")),
    )?;
    let head = [
        "threads",
        "ours, ms",
        "onnxruntime, ms",
        "ratio",
        "fastest, ours",
        "fastest, onnxruntime",
        "memory, ours, MiB",
        "memory, onnxruntime, MiB",
        "cosine",
    ];
    row(page, &head.map(String::from))?;
    row(page, &head.map(|_| "---".to_owned()))?;
    let milliseconds = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.1}", 1e3 * value));
    let mebibytes = |value: Option<u64>| value.map_or("-".into(), |value| (value / 1024).to_string());
    for case in &results.cases {
        let ratio = |theirs: f64| format!("{:.2} (at most {:.1})", case.ours / theirs, case.most_of_onnxruntime);
        row(
            page,
            &[
                case.threads.to_string(),
                milliseconds(Some(case.ours)),
                milliseconds(case.onnxruntime),
                case.onnxruntime.map_or("-".into(), ratio),
                milliseconds(Some(case.ours_fastest)),
                milliseconds(case.onnxruntime_fastest),
                mebibytes(case.ours_peak_kib),
                mebibytes(case.onnxruntime_peak_kib),
                case.cosine.map_or("-".into(), |cosine| format!("{cosine:.6}")),
            ],
        )?;
    }
    Ok(())
}

/// The section about training's steps.
pub(crate) fn training_section(page: &mut String, results: &training::Results) -> anyhow::Result<()> {
    writeln!(page, "\n## Speed of training, threads: {}\n", results.threads)?;
    write!(page, "{}", results.machine)?;
    if let Some(beside) = &results.beside {
        write!(page, " ({beside})")?;
    }
    writeln!(page, ". {} threads a side, {} interleaved runs, medians.", results.threads, results.runs)?;
    writeln!(
        page,
        "A step is forward and backward of the sum of squares of the last frame's outputs, input 40; PyTorch{} does the same \
         one, its denormals flushed. Losses and norms of gradients differ by at most 1e-4, relative. Rates are of the \
         products' operations; the large product is f32, 1024 x 1024 x 1024, by the `gemm` crate with AVX-512 where the CPU \
         has it, sampled beside each step. In brackets: bounds, the most of PyTorch's time and the least of the large \
         product's rate. Made by `cargo xtask bench --training --peers PYTHON`.\n",
        results.torch.as_ref().map_or(String::new(), |version| format!(" {version}")),
    )?;
    let head = [
        "network and batch",
        "ours, s",
        "PyTorch, s",
        "ratio",
        "fastest, ours",
        "fastest, PyTorch",
        "GFLOP/s",
        "large product",
        "share",
        "loss differs by",
    ];
    row(page, &head.map(String::from))?;
    row(page, &head.map(|_| "---".to_owned()))?;
    let seconds = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    for case in &results.cases {
        let rate = case.operations as f64 / case.ours;
        let ratio = case
            .pytorch
            .map_or("-".into(), |theirs| format!("{:.2} (at most {:.1})", case.ours / theirs, case.most_of_pytorch));
        row(
            page,
            &[
                case.case.clone(),
                format!("{:.3}", case.ours),
                seconds(case.pytorch),
                ratio,
                seconds(case.ours_fastest),
                seconds(case.pytorch_fastest),
                format!("{:.0}", rate / 1e9),
                format!("{:.0}", case.gemm / 1e9),
                format!("{:.0} % (at least {:.0} %)", 100.0 * rate / case.gemm, 100.0 * case.least_of_gemm),
                case.loss_difference.map_or("-".into(), |difference| format!("{difference:.0e}")),
            ],
        )?;
    }
    let embedding = &results.embedding;
    writeln!(
        page,
        "\n{} utterances of {} frames embedded by 3 x 128 projected to 64: {:.1} ms.",
        embedding.utterances,
        embedding.frames,
        1e3 * embedding.seconds
    )?;
    Ok(())
}
