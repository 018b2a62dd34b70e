//! Strangers to tell scores by: the cohort of score normalisation, embedded once, and the mean that is subtracted before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sv_metrics::norm::{self, CohortStatistics, Normalization};
use sv_metrics::{MetricsError, score};
use sv_models::{Fingerprint, ModelError};

use crate::{Error, SpeakerRecognition, Utterance};

/// The recordings of a cohort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CohortList {
    /// Each file is a member, as SpeechBrain has it.
    Utterances(Vec<PathBuf>),
    /// Each speaker is a member, the mean of the embeddings of their files, as WeSpeaker has it.
    Speakers(Vec<(PathBuf, String)>),
}

impl CohortList {
    /// Number of files.
    #[must_use]
    pub fn files(&self) -> usize {
        match self {
            Self::Utterances(files) => files.len(),
            Self::Speakers(files) => files.len(),
        }
    }
}

/// The members of a cohort as a model hears them, and the rule to normalise scores by.
#[derive(Debug)]
pub struct Cohort {
    /// (members) rows of D, the mean subtracted.
    members: Vec<Vec<f32>>,
    mean: Option<Vec<f32>>,
    rule: Normalization,
    fingerprint: Fingerprint,
    failures: Vec<(PathBuf, Error)>,
}

/// The sides of a trial list's files: D values each, the mean subtracted, and how they stand to the cohort.
type Side = (Vec<f32>, CohortStatistics);

impl Cohort {
    /// Number of members: files, or speakers.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The rule.
    #[must_use]
    pub fn rule(&self) -> Normalization {
        self.rule
    }

    /// The files of cohort and mean that failed, and why. They are left out.
    #[must_use]
    pub fn failures(&self) -> &[(PathBuf, Error)] {
        &self.failures
    }

    /// Prepares the files that are embedded; those that failed stay out. In parallel: each is compared with every member.
    pub(crate) fn sides(
        &self,
        model: &SpeakerRecognition,
        embedded: &[Result<Utterance, Error>],
    ) -> Result<Vec<Option<Side>>, Error> {
        if model.fingerprint() != self.fingerprint {
            let (left, right) = (model.fingerprint().short(), self.fingerprint.short());
            return Err(ModelError::ForeignEmbedding { left, right }.into());
        }
        let side = |utterance: &Utterance| {
            let values = self.centred(utterance.embedding.values())?;
            let scores: Result<Vec<f64>, _> =
                self.members.iter().map(|member| score::cosine(&values, member)).collect();
            Ok((values, self.rule.statistics(&scores?)?))
        };
        embedded.par_iter().map(|utterance| utterance.as_ref().ok().map(side).transpose()).collect()
    }

    fn centred(&self, values: &[f32]) -> Result<Vec<f32>, Error> {
        Ok(match &self.mean {
            Some(mean) => norm::centred(values, mean)?,
            None => values.to_vec(),
        })
    }

    /// The normalised score of two sides.
    pub(crate) fn score(&self, enrolment: &Side, test: &Side) -> Result<f64, Error> {
        Ok(self.rule.apply(score::cosine(&enrolment.0, &test.0)?, enrolment.1, test.1))
    }
}

impl SpeakerRecognition {
    /// Embeds a cohort, and the files of `mean_of`, whose mean is subtracted from every embedding; with none, nothing is.
    ///
    /// A file that fails is left out; [`Cohort::failures`] names it. `finished` is called with the number of files done, from any
    /// thread.
    ///
    /// # Errors
    /// [`Error::NothingScored`] with the first failure, or [`Error::Metrics`], where no member is left, or no file to take the mean
    /// of.
    pub fn cohort<F: Fn(usize) + Sync>(
        &self,
        list: &CohortList,
        mean_of: &[PathBuf],
        rule: Normalization,
        finished: F,
    ) -> Result<Cohort, Error> {
        let mut failures = Vec::new();
        let mean = if mean_of.is_empty() {
            None
        } else {
            let rows = self.rows(mean_of, &finished, &mut failures).into_iter().flatten().collect::<Vec<_>>();
            Some(left(norm::mean(&rows), &mut failures)?)
        };
        let members = match list {
            CohortList::Utterances(files) => self.rows(files, &finished, &mut failures).into_iter().flatten().collect(),
            CohortList::Speakers(files) => {
                let (files, speakers): (Vec<_>, Vec<_>) = files.iter().cloned().unzip();
                let mut of_speaker: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
                for (speaker, row) in speakers.into_iter().zip(self.rows(&files, &finished, &mut failures)) {
                    of_speaker.entry(speaker).or_default().extend(row);
                }
                let means = of_speaker.values().filter(|rows| !rows.is_empty()).map(|rows| norm::mean(rows));
                means.collect::<Result<Vec<_>, _>>()?
            }
        };
        let enough = if members.is_empty() { Err(MetricsError::EmptyCohort) } else { Ok(()) };
        left(enough, &mut failures)?;
        let mut cohort = Cohort { members: Vec::new(), mean, rule, fingerprint: self.fingerprint(), failures };
        cohort.members = members.iter().map(|member| cohort.centred(member)).collect::<Result<_, _>>()?;
        Ok(cohort)
    }

    fn rows<F: Fn(usize) + Sync>(
        &self,
        files: &[PathBuf],
        finished: F,
        failures: &mut Vec<(PathBuf, Error)>,
    ) -> Vec<Option<Vec<f32>>> {
        let embedded = self.embed_files(files, finished).into_iter().zip(files);
        embedded
            .map(|(result, file)| {
                let failed = |error| failures.push((file.clone(), error));
                result.map_err(failed).ok().map(|utterance| utterance.embedding.values().to_vec())
            })
            .collect()
    }
}

/// Names the first failure beside an error that came of it.
fn left<T>(result: Result<T, MetricsError>, failures: &mut Vec<(PathBuf, Error)>) -> Result<T, Error> {
    result.map_err(|source| {
        let failed = failures.len();
        match failures.drain(..).next() {
            Some((_, first)) => Error::NothingScored { failed, first: Box::new(first), source },
            None => source.into(),
        }
    })
}

/// A cohort's list: one file a line, relative to `root`, or a file and its speaker. Names hold no white space; blank lines and lines
/// that begin with `#` are skipped.
///
/// # Errors
/// [`Error::Read`] if the list cannot be read as text, [`Error::NothingToDo`] if it names no file, [`Error::CohortLine`] for a line
/// with another number of fields than the first.
pub fn read_cohort(list: &Path, root: &Path) -> Result<CohortList, Error> {
    let text = std::fs::read_to_string(list).map_err(|source| Error::Read { path: list.into(), source })?;
    let (mut files, mut speakers, mut need) = (Vec::new(), Vec::new(), None);
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.first().is_none_or(|first| first.starts_with('#')) {
            continue;
        }
        let need = *need.get_or_insert(fields.len().min(2));
        if fields.len() != need {
            return Err(Error::CohortLine { path: list.into(), line: index + 1, got: fields.len(), need });
        }
        files.push(root.join(fields[0]));
        speakers.extend(fields.get(1).map(|&speaker| speaker.to_owned()));
    }
    if files.is_empty() {
        return Err(Error::NothingToDo { origin: list.display().to_string() });
    }
    Ok(if speakers.is_empty() {
        CohortList::Utterances(files)
    } else {
        CohortList::Speakers(files.into_iter().zip(speakers).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CohortList, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cohort");
        std::fs::write(&path, text).expect("written");
        read_cohort(&path, Path::new("root"))
    }

    #[test]
    fn a_list_names_files_or_files_and_speakers() {
        let list = read("# cohort\na.wav\n\n  sub/b.wav \n").expect("a list");
        assert_eq!(list, CohortList::Utterances(vec!["root/a.wav".into(), "root/sub/b.wav".into()]));
        let list = read("a.wav ada\nb.wav\tbob\n").expect("a list");
        let ada = (PathBuf::from("root/a.wav"), "ada".to_owned());
        assert_eq!(list, CohortList::Speakers(vec![ada, ("root/b.wav".into(), "bob".into())]));
    }

    #[test]
    fn a_line_unlike_the_first_is_named() {
        for (text, line, got, need) in
            [("a.wav\nb.wav bob\n", 2, 2, 1), ("a.wav ada\n\nb.wav\n", 3, 1, 2), ("a b c", 1, 3, 2)]
        {
            let error = read(text).expect_err(text);
            let Error::CohortLine { line: l, got: g, need: n, .. } = error else { panic!("{error}") };
            assert_eq!((l, g, n), (line, got, need), "{text:?}");
        }
        assert!(matches!(read("# nobody\n"), Err(Error::NothingToDo { .. })));
    }
}
