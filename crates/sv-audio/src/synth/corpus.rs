//! The two corpora: what is said in each, and how many speakers say it how often where figures are made.

/// Which text the voices say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Corpus {
    /// One phrase, always the same, in recordings of one length.
    TextDependent = 1,
    /// Syllables at random, new in each recording.
    TextIndependent = 2,
}

/// Where syllables come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syllables {
    /// The letters of a phrase.
    Fixed(&'static str),
    /// Drawn for each recording.
    Random,
}

/// How much of a corpus is used where its figures are made: by `docs/synthesised-voices.md` and by every training on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorpusSize {
    /// Speakers to train on: indices from 0.
    pub train_speakers: u64,
    /// Recordings of each of them.
    pub train_utterances: u64,
    /// Speakers of trials, none of them trained on: indices from [`Corpus::FIRST_TRIAL_SPEAKER`].
    pub trial_speakers: u64,
    /// Recordings of each of them; all pairs within a speaker and across speakers are trials.
    pub trial_utterances: u64,
}

impl Corpus {
    /// Index of the first speaker of trials: above any that is trained on.
    pub const FIRST_TRIAL_SPEAKER: u64 = 1_000_000;

    /// The size at which this corpus's figures are made.
    #[must_use]
    pub fn size(self) -> CorpusSize {
        let (train_speakers, train_utterances) = match self {
            Self::TextDependent => (600, 10),
            Self::TextIndependent => (600, 10),
        };
        CorpusSize { train_speakers, train_utterances, trial_speakers: 60, trial_utterances: 10 }
    }

    /// The phrase of the fixed text: twelve phones, six of them vowels.
    pub(crate) fn syllables(self) -> Syllables {
        match self {
            Self::TextDependent => Syllables::Fixed("maritokenasu"),
            Self::TextIndependent => Syllables::Random,
        }
    }

    /// Factor on all nominal lengths: the phrase is said briskly, so that it fits its recordings.
    pub(crate) fn tempo(self) -> f64 {
        match self {
            Self::TextDependent => 0.64,
            Self::TextIndependent => 1.0,
        }
    }

    /// Length of every recording (fixed phrase) or of the longest (random ones), in ms.
    pub(crate) fn longest_ms(self) -> f64 {
        match self {
            Self::TextDependent => 1_200.0,
            Self::TextIndependent => 3_000.0,
        }
    }

    /// Least and greatest silence before the phrase, in ms.
    pub(crate) fn lead_ms(self) -> (f64, f64) {
        match self {
            Self::TextDependent => (20.0, 50.0),
            Self::TextIndependent => (50.0, 120.0),
        }
    }

    /// Silence after it, at least, in ms.
    pub(crate) fn tail_ms(self) -> f64 {
        match self {
            Self::TextDependent => 40.0,
            Self::TextIndependent => 80.0,
        }
    }
}
