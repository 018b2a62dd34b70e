//! What the fuzz target `trials` and the test `fuzz_trials` call.

use sv_metrics::{TrialFormat, Trials};

/// Reads bytes as a list of every format: a list or an error whose message is short and harmless, never a panic. What was read is
/// consistent, and reads the same once it is written.
pub(crate) fn call(bytes: &[u8]) {
    for format in [TrialFormat::VoxCeleb, TrialFormat::Kaldi, TrialFormat::VoxSrcBlind] {
        match Trials::parse(bytes, format) {
            Ok(list) => {
                assert!(!list.pairs().is_empty());
                assert!(list.pairs().iter().all(|pair| pair.enrolment.max(pair.test) < list.files().len()));
                assert_eq!(Trials::parse(list.to_string(), format).as_ref(), Ok(&list));
                let scores = vec![0.5; list.pairs().len()];
                let lines =
                    list.score_lines(&scores).map(|lines| lines.map(|line| line.to_string().len()).sum::<usize>());
                assert!(lines.is_ok_and(|length| length >= list.to_string().len()));
                // Labels of one kind only, or none, are an error; it must say so and not panic.
                let _ = list.scored(&scores).map_err(|error| error.to_string());
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.chars().count() < 2500 && !message.chars().any(char::is_control), "{message}");
            }
        }
    }
}
