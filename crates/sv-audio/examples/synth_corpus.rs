//! Writes a synthetic corpus for tools in other languages: `train.raw` and `trial.raw` (16-bit little-endian mono
//! samples at 16 kHz, one recording after the other) and `train.tsv` and `trial.tsv` (speaker, utterance, samples).
//!
//! `cargo run --release -p sv-audio --features synth --example synth_corpus -- OUT_DIR td|ti SEED [name=value ...]`
//!
//! A name is a setting of `SynthConfig`, or `train_speakers`, `train_utterances`, `trial_speakers`, `trial_utterances`.

use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::Path;

use sv_audio::synth::{Corpus, CorpusSize, Speaker, SynthConfig};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, kind, seed, settings @ ..] = arguments.as_slice() else {
        return Err("usage: synth_corpus OUT_DIR td|ti SEED [name=value ...]".into());
    };
    let corpus = match kind.as_str() {
        "td" => Corpus::TextDependent,
        "ti" => Corpus::TextIndependent,
        other => return Err(format!("`{other}` is no corpus: td or ti").into()),
    };
    let (mut config, mut size) = (SynthConfig::new(corpus), corpus.size());
    for setting in settings {
        set(&mut config, &mut size, setting)?;
    }
    let (out, seed) = (Path::new(out), seed.parse()?);
    create_dir_all(out)?;
    write(out, "train", &config, seed, 0..size.train_speakers, size.train_utterances)?;
    let first = Corpus::FIRST_TRIAL_SPEAKER;
    write(out, "trial", &config, seed, first..first + size.trial_speakers, size.trial_utterances)
}

fn set(config: &mut SynthConfig, size: &mut CorpusSize, setting: &str) -> Result<()> {
    let (name, value) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is not name=value"))?;
    match name {
        "train_speakers" => size.train_speakers = value.parse()?,
        "train_utterances" => size.train_utterances = value.parse()?,
        "trial_speakers" => size.trial_speakers = value.parse()?,
        "trial_utterances" => size.trial_utterances = value.parse()?,
        name => *config.get_mut(name).ok_or_else(|| format!("`{name}` is no setting"))? = value.parse()?,
    }
    Ok(())
}

fn write(
    out: &Path,
    part: &str,
    config: &SynthConfig,
    seed: u64,
    speakers: std::ops::Range<u64>,
    utterances: u64,
) -> Result<()> {
    let mut samples = BufWriter::new(File::create(out.join(format!("{part}.raw")))?);
    let mut list = BufWriter::new(File::create(out.join(format!("{part}.tsv")))?);
    for index in speakers {
        let speaker = Speaker::draw_with(config, seed, index)?;
        for utterance in 0..utterances {
            let wave = speaker.utterance(utterance);
            for sample in wave.samples() {
                samples.write_all(&((sample * 32_768.0) as i16).to_le_bytes())?;
            }
            writeln!(list, "{index}\t{utterance}\t{}", wave.len())?;
        }
    }
    samples.flush()?;
    Ok(list.flush()?)
}
