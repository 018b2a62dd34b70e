//! Lists of trials: which recording is compared with which, and whether one speaker is in both.

use std::collections::HashMap;
use std::fmt;

use crate::error::shown;
use crate::{MetricsError, ScoredTrials};

/// Whether both sides of a trial are of one speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// One speaker on both sides.
    Target,
    /// Two speakers.
    NonTarget,
}

/// One comparison: names of two recordings as the list has them, and whether one speaker is in both, where the list says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trial<'a> {
    /// The recording that the speaker is known by.
    pub enrolment: &'a str,
    /// The recording in question.
    pub test: &'a str,
    /// The truth, unless the list is blind.
    pub label: Option<Label>,
}

/// How a line of a trial list reads.
///
/// In every format fields are separated by spaces or tabs, so names cannot hold either; there is no quoting. The format is chosen, never
/// guessed from the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum TrialFormat {
    /// `1 enrolment test`, `0 enrolment test`.
    #[default]
    VoxCeleb,
    /// `enrolment test target`, `enrolment test nontarget`: Kaldi's and WeSpeaker's.
    Kaldi,
    /// `enrolment test`, without labels: VoxSRC's blind lists.
    VoxSrcBlind,
}

impl TrialFormat {
    /// A line of the format.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::VoxCeleb => "1 enrolment.wav test.wav",
            Self::Kaldi => "enrolment.wav test.wav target",
            Self::VoxSrcBlind => "enrolment.wav test.wav",
        }
    }

    /// The labels of the format, in words.
    pub(crate) fn labels(self) -> &'static str {
        match self {
            Self::VoxCeleb => "1 and 0",
            Self::Kaldi => "target and nontarget",
            Self::VoxSrcBlind => "none",
        }
    }

    fn fields(self) -> usize {
        if self.has_labels() { 3 } else { 2 }
    }

    fn has_labels(self) -> bool {
        self != Self::VoxSrcBlind
    }

    /// The fields of a line in the order label, enrolment, test; no label in a blind list.
    fn ordered(self, fields: [&str; 3]) -> (Option<&str>, &str, &str) {
        let [first, second, third] = fields;
        match self {
            Self::VoxCeleb => (Some(first), second, third),
            Self::Kaldi => (Some(third), first, second),
            Self::VoxSrcBlind => (None, first, second),
        }
    }

    fn label(self, field: &str) -> Option<Label> {
        match (self, field) {
            (Self::VoxCeleb, "1") | (Self::Kaldi, "target") => Some(Label::Target),
            (Self::VoxCeleb, "0") | (Self::Kaldi, "nontarget") => Some(Label::NonTarget),
            _ => None,
        }
    }
}

/// One trial of a list, its recordings as positions in [`Trials::files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrialPair {
    /// Position of the enrolment.
    pub enrolment: usize,
    /// Position of the test recording.
    pub test: usize,
    /// The truth, unless the list is blind.
    pub label: Option<Label>,
}

/// A checked list of trials: not empty, each file named once, every trial labelled or none.
///
/// Names are compared as they are written: `a/1.wav` and `b/1.wav` are two files, and so are `a.wav` and `./a.wav`.
/// `Display` writes the list in its format, a line each; parsing that gives the same list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trials {
    format: TrialFormat,
    files: Vec<String>,
    pairs: Vec<TrialPair>,
}

impl Trials {
    /// Reads a list from text or bytes, which must be UTF-8.
    ///
    /// Lines end in `\n` or `\r\n`; a byte order mark at the start, spaces and tabs around fields, and blank lines are passed over. Time and
    /// memory grow in proportion to the text, whatever it holds.
    ///
    /// # Errors
    /// [`MetricsError::Fields`], [`MetricsError::Label`] or [`MetricsError::NotText`], with number and content of the first bad line;
    /// [`MetricsError::NoTrials`] for a list without any.
    ///
    /// ```
    /// # use sv_metrics::{Label, TrialFormat, Trials};
    /// let list = Trials::parse("1 a/1.wav a/2.wav\n0 a/1.wav b/1.wav\n", TrialFormat::VoxCeleb)?;
    /// assert_eq!(list.files(), ["a/1.wav", "a/2.wav", "b/1.wav"]);
    /// assert_eq!(list.pairs()[1].test, 2);
    /// assert_eq!(list.pairs()[1].label, Some(Label::NonTarget));
    ///
    /// let error = Trials::parse("1 a b\n2 a c\n", TrialFormat::VoxCeleb).unwrap_err();
    /// assert!(error.to_string().starts_with("line 2: label `2`, this format's are 1 and 0"));
    /// # Ok::<(), sv_metrics::MetricsError>(())
    /// ```
    pub fn parse(text: impl AsRef<[u8]>, format: TrialFormat) -> Result<Self, MetricsError> {
        let text = text.as_ref();
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let mut files = Files::default();
        let mut pairs = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = plain_text(line.strip_suffix(b"\r").unwrap_or(line), index + 1)?;
            if let Some(trial) = parse_line(line, index + 1, format)? {
                pairs.push(files.pair(trial));
            }
        }
        Self { format, files: files.names(), pairs }.checked()
    }

    /// A list of one's own. In the blind format labels are dropped.
    ///
    /// # Errors
    /// [`MetricsError::NoTrials`] without a trial, [`MetricsError::Unlabelled`] if the format has labels and a trial has none,
    /// [`MetricsError::Name`] for a name that no line can hold: empty, with spaces, control characters or a byte order mark.
    pub fn new<'a>(trials: impl IntoIterator<Item = Trial<'a>>, format: TrialFormat) -> Result<Self, MetricsError> {
        let mut files = Files::default();
        let mut pairs = Vec::new();
        for (index, mut trial) in trials.into_iter().enumerate() {
            for name in [trial.enrolment, trial.test] {
                if name.is_empty() || !name.chars().all(|c| c != ' ' && is_plain(c)) {
                    return Err(MetricsError::Name { trial: index, name: shown(name) });
                }
            }
            trial.label = trial.label.filter(|_| format.has_labels());
            if format.has_labels() && trial.label.is_none() {
                return Err(MetricsError::Unlabelled { trial: index });
            }
            pairs.push(files.pair(trial));
        }
        Self { format, files: files.names(), pairs }.checked()
    }

    fn checked(self) -> Result<Self, MetricsError> {
        if self.pairs.is_empty() { Err(MetricsError::NoTrials { format: self.format }) } else { Ok(self) }
    }

    /// The format that the list was read in and is written in.
    #[must_use]
    pub fn format(&self) -> TrialFormat {
        self.format
    }

    /// The distinct recordings in the order of first appearance, so that each is embedded once.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The trials in the order of the list, as positions in [`Trials::files`].
    #[must_use]
    pub fn pairs(&self) -> &[TrialPair] {
        &self.pairs
    }

    /// The trials in the order of the list, with their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Trial<'_>> {
        self.pairs.iter().map(|pair| Trial {
            enrolment: &self.files[pair.enrolment],
            test: &self.files[pair.test],
            label: pair.label,
        })
    }

    /// The speakers of each trial's two sides, as numbers, as [`crate::bootstrap::eer_interval`] takes them: a list names files
    /// and no speakers, but files joined by target trials are one speaker.
    #[must_use]
    pub fn speakers(&self) -> Vec<(usize, usize)> {
        let mut parents: Vec<usize> = (0..self.files().len()).collect();
        for pair in self.pairs().iter().filter(|pair| pair.label == Some(Label::Target)) {
            let (a, b) = (root_of(&mut parents, pair.enrolment), root_of(&mut parents, pair.test));
            parents[a.max(b)] = a.min(b);
        }
        self.pairs()
            .iter()
            .map(|pair| (root_of(&mut parents, pair.enrolment), root_of(&mut parents, pair.test)))
            .collect()
    }

    /// Joins the list with its scores, one for each trial in the order of the list.
    ///
    /// # Errors
    /// [`MetricsError::Unlabelled`] for a blind list, and what [`ScoredTrials::new`] refuses.
    pub fn scored(&self, scores: &[f64]) -> Result<ScoredTrials, MetricsError> {
        let label = |(trial, pair): (usize, &TrialPair)| pair.label.ok_or(MetricsError::Unlabelled { trial });
        let labels = self.pairs.iter().enumerate().map(label).collect::<Result<Vec<_>, _>>()?;
        ScoredTrials::new(scores, &labels)
    }

    /// The lines of a score file: each trial's line with its score behind it, such as `1 a.wav b.wav 0.71`. Scores are written with as many
    /// digits as it takes to read the same f64 again. The lines do not end in `\n`.
    ///
    /// # Errors
    /// [`MetricsError::Count`] unless there is one score for each trial.
    pub fn score_lines<'a>(
        &'a self,
        scores: &'a [f64],
    ) -> Result<impl ExactSizeIterator<Item = ScoreLine<'a>>, MetricsError> {
        if scores.len() != self.pairs.len() {
            return Err(MetricsError::Count { what: "scores", got: scores.len(), need: self.pairs.len() });
        }
        let format = self.format;
        Ok(self.iter().zip(scores).map(move |(trial, &score)| ScoreLine { trial, format, score }))
    }
}

impl fmt::Display for Trials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for trial in self.iter() {
            write_trial(f, &trial, self.format)?;
            f.write_str("\n")?;
        }
        Ok(())
    }
}

/// A trial and its score; `Display` writes the line of a score file, without the line's end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreLine<'a> {
    trial: Trial<'a>,
    format: TrialFormat,
    score: f64,
}

impl fmt::Display for ScoreLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_trial(f, &self.trial, self.format)?;
        write!(f, " {}", self.score)
    }
}

fn write_trial(f: &mut fmt::Formatter<'_>, trial: &Trial<'_>, format: TrialFormat) -> fmt::Result {
    let Trial { enrolment, test, label } = trial;
    let is_target = *label == Some(Label::Target);
    match format {
        TrialFormat::VoxCeleb => write!(f, "{} {enrolment} {test}", u8::from(is_target)),
        TrialFormat::Kaldi => write!(f, "{enrolment} {test} {}", if is_target { "target" } else { "nontarget" }),
        TrialFormat::VoxSrcBlind => write!(f, "{enrolment} {test}"),
    }
}

/// Numbers names in the order of their first appearance.
#[derive(Default)]
struct Files<'a> {
    order: Vec<&'a str>,
    positions: HashMap<&'a str, usize>,
}

impl<'a> Files<'a> {
    fn position(&mut self, name: &'a str) -> usize {
        *self.positions.entry(name).or_insert_with(|| {
            self.order.push(name);
            self.order.len() - 1
        })
    }

    fn pair(&mut self, trial: Trial<'a>) -> TrialPair {
        let enrolment = self.position(trial.enrolment);
        TrialPair { enrolment, test: self.position(trial.test), label: trial.label }
    }

    fn names(self) -> Vec<String> {
        self.order.into_iter().map(String::from).collect()
    }
}

fn parse_line(text: &str, line: usize, format: TrialFormat) -> Result<Option<Trial<'_>>, MetricsError> {
    let mut fields = [""; 3];
    let mut got = 0;
    for field in text.split([' ', '\t']).filter(|field| !field.is_empty()) {
        if let Some(place) = fields.get_mut(got) {
            *place = field;
        }
        got += 1;
    }
    if got == 0 {
        return Ok(None);
    }
    let need = format.fields();
    if got != need {
        return Err(MetricsError::Fields { line, got, need, format, content: shown(text) });
    }
    let (label, enrolment, test) = format.ordered(fields);
    let label = match label.map(|field| format.label(field).ok_or(field)) {
        None => None,
        Some(Ok(label)) => Some(label),
        Some(Err(field)) => {
            return Err(MetricsError::Label { line, label: shown(field), format, content: shown(text) });
        }
    };
    Ok(Some(Trial { enrolment, test, label }))
}

/// The line as text, if every character of it may stand in a list.
fn plain_text(bytes: &[u8], line: usize) -> Result<&str, MetricsError> {
    let bad = match std::str::from_utf8(bytes) {
        Ok(text) => match text.char_indices().find(|&(_, c)| c != '\t' && !is_plain(c)) {
            None => return Ok(text),
            Some((at, _)) => at,
        },
        Err(error) => error.valid_up_to(),
    };
    // No more than a message shows is decoded: a line may be as long as the file.
    let head = &bytes[..bytes.len().min(512)];
    Err(MetricsError::NotText { line, byte: bad + 1, content: shown(&String::from_utf8_lossy(head)) })
}

/// Whether a character may stand in a name: no tab, no line break, no other control character; nor a byte order mark, which would vanish
/// when the list is read again.
fn is_plain(character: char) -> bool {
    !character.is_control() && character != '\u{FEFF}'
}

/// The root of `file`, halving the path on the way so that no list makes a long chain.
fn root_of(parents: &mut [usize], mut file: usize) -> usize {
    while parents[file] != file {
        parents[file] = parents[parents[file]];
        file = parents[file];
    }
    file
}

#[cfg(test)]
mod tests;
