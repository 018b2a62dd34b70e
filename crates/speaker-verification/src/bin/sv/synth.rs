//! `sv synth`: a corpus of synthetic voices, for trying things without recordings of people.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use rayon::prelude::*;
use speaker_verification::audio::synth::{Corpus, GENERATOR_VERSION, Speaker};
use speaker_verification::models::checkpoint::write_whole;

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder to write
    out_dir: PathBuf,
    /// Number of speakers
    #[arg(long, value_name = "N")]
    speakers: u32,
    /// Utterances of each
    #[arg(long, value_name = "M")]
    utterances: u32,
    /// Other seeds give other people
    #[arg(long, value_name = "S")]
    seed: u64,
    /// Every utterance is the same phrase (text-dependent), instead of random ones
    #[arg(long)]
    fixed_phrase: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let corpus = if arguments.fixed_phrase { Corpus::TextDependent } else { Corpus::TextIndependent };
    let takes: Vec<(u64, u64)> = (0..u64::from(arguments.speakers))
        .flat_map(|speaker| (0..u64::from(arguments.utterances)).map(move |utterance| (speaker, utterance)))
        .collect();
    for speaker in 0..arguments.speakers {
        let folder = arguments.out_dir.join(speaker_name(u64::from(speaker)));
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let bar = output::progress(takes.len());
    takes.par_iter().try_for_each(|&(speaker, utterance)| {
        let wave = Speaker::draw(arguments.seed, corpus, speaker).utterance(utterance);
        let path = arguments.out_dir.join(take_name(speaker, utterance));
        write_whole(&path, |out| out.write_all(&wave.to_wav()))?;
        bar.inc(1);
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    write_whole(&arguments.out_dir.join("trials.txt"), |out| write_trials(out, &takes))?;
    output::line(&format!(
        "{}: {} recordings of {} synthetic voices, trials.txt (generator version {GENERATOR_VERSION})",
        arguments.out_dir.display(),
        takes.len(),
        arguments.speakers
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Every pair of recordings, in VoxCeleb's format.
fn write_trials(out: &mut dyn Write, takes: &[(u64, u64)]) -> std::io::Result<()> {
    for (position, &(a, i)) in takes.iter().enumerate() {
        for &(b, j) in &takes[position + 1..] {
            writeln!(out, "{} {} {}", u8::from(a == b), take_name(a, i), take_name(b, j))?;
        }
    }
    Ok(())
}

fn speaker_name(speaker: u64) -> String {
    format!("synthetic{speaker:05}")
}

fn take_name(speaker: u64, utterance: u64) -> String {
    format!("{}/{utterance:04}.wav", speaker_name(speaker))
}
