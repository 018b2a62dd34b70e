//! LDA's EER on the synthetic corpora at their full size: `cargo run --release -p sv-tests --example synth_lda -- td|ti SEED...`

use common::lda::{Lda, LogMelStats, all_pairs_eer};
use sv_audio::synth::{Corpus, GENERATOR_VERSION};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, seeds @ ..] = arguments.as_slice() else { return Err("usage: synth_lda td|ti SEED...".into()) };
    let corpus = match kind.as_str() {
        "td" => Corpus::TextDependent,
        "ti" => Corpus::TextIndependent,
        other => return Err(format!("`{other}` is no corpus: td or ti").into()),
    };
    let size = corpus.size();
    for seed in seeds {
        let seed: u64 = seed.parse()?;
        let mut stats = LogMelStats::default();
        let (rows, labels) = stats.of_speakers(corpus, seed, 0..size.train_speakers, size.train_utterances);
        let lda = Lda::fit(&rows, &labels, 40);
        let first = Corpus::FIRST_TRIAL_SPEAKER;
        let trials = first..first + size.trial_speakers;
        let (rows, labels) = stats.of_speakers(corpus, seed, trials, size.trial_utterances);
        let embeddings: Vec<Vec<f64>> = rows.iter().map(|row| lda.embed(row)).collect();
        let eer = 100.0 * all_pairs_eer(&embeddings, &labels);
        #[expect(clippy::print_stdout, reason = "a tool whose result is this line")]
        {
            println!("generator {GENERATOR_VERSION}  {kind}  seed {seed}  lda  {eer:.2} %");
        }
    }
    Ok(())
}
