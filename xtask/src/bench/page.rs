//! The sections of `docs/results.md` about speed.

use std::fmt::Write;

use super::Results;

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
