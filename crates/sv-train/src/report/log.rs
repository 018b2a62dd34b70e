//! What happened at which step, as JSON lines in the folder of a run: appended and flushed one by one, read back with the line named.
//!
//! A kill can leave the last line without its end; what is read then ends before it. A resumed run first drops what lies beyond the step it
//! resumes from, so that the files tell of one run, however often it was cut off.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sv_models::checkpoint::write_whole;

use super::number;
use crate::TrainError;
use crate::error::not_written;

/// A kind of line, and the file that holds it.
pub trait Line: Serialize + DeserializeOwned {
    /// Name of the file in the folder of a run.
    const FILE: &'static str;

    /// The step after which it was taken.
    fn step(&self) -> u64;
}

/// One step of a training: a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricLine {
    /// Steps done, this one included.
    pub step: u64,
    /// The loss, as the objective gives it (a sum or a mean, see there).
    #[serde(with = "number")]
    pub loss: f64,
    /// Learning rate of the step.
    #[serde(with = "number")]
    pub rate: f64,
    /// Norm of all gradients together, before clipping.
    #[serde(with = "number")]
    pub gradient_norm: f64,
    /// Seconds since the run began, resumed stretches added up by the caller.
    #[serde(with = "number")]
    pub seconds: f64,
    /// Feature frames trained on in a second.
    #[serde(with = "number")]
    pub frames_per_second: f64,
    /// Whatever else is watched, by name, such as `ge2e.w`.
    #[serde(with = "number::map", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extras: BTreeMap<String, f64>,
}

impl Line for MetricLine {
    const FILE: &'static str = "metrics.jsonl";

    fn step(&self) -> u64 {
        self.step
    }
}

/// One evaluation of a trial list on the way: a line of `evaluations.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationLine {
    /// Steps done before it; 0 is the untrained network.
    pub step: u64,
    /// Which list of trials.
    pub list: String,
    /// Equal error rate, as a fraction.
    pub eer: f64,
    /// Its 95 % interval by resampling the speakers, if it was drawn.
    pub eer_interval: Option<[f64; 2]>,
    /// Least normalised detection cost.
    pub min_dcf: f64,
    /// Score at which the equal error rate is reached.
    #[serde(with = "number")]
    pub threshold: f64,
    /// Number of trials.
    pub trials: usize,
    /// Number of targets among them.
    pub targets: usize,
}

impl Line for EvaluationLine {
    const FILE: &'static str = "evaluations.jsonl";

    fn step(&self) -> u64 {
        self.step
    }
}

/// `metrics.jsonl` of a run, open at its end.
pub type MetricsLog = JsonLines<MetricLine>;

/// `evaluations.jsonl` of a run, open at its end.
pub type EvaluationLog = JsonLines<EvaluationLine>;

/// A file of JSON lines, open at its end.
#[derive(Debug)]
pub struct JsonLines<L> {
    path: PathBuf,
    file: File,
    line: PhantomData<fn(L)>,
}

impl<L: Line> JsonLines<L> {
    /// Begins the file of a new run in `folder`, which is there already.
    ///
    /// # Errors
    /// [`TrainError::Write`], also where the file is there: to go on with a run is [`JsonLines::resume`].
    pub fn create(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(L::FILE);
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        Self::over(path, file)
    }

    /// Begins the file of a run that is begun once more, because no checkpoint of it was left: what is there is dropped.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn begin_again(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(L::FILE);
        write_whole(&path, |_| Ok(())).map_err(|error| not_written(&path, error))?;
        let file = OpenOptions::new().append(true).open(&path);
        Self::over(path, file)
    }

    /// Goes on with the file of a run that resumes after `step` steps: later lines are dropped, and the file is replaced whole before
    /// anything is appended. A file that is not there is begun.
    ///
    /// # Errors
    /// As [`read_metrics`] for what is there, and [`TrainError::Write`].
    pub fn resume(folder: &Path, step: u64) -> Result<Self, TrainError> {
        let path = folder.join(L::FILE);
        let there = path.try_exists().map_err(|source| TrainError::Read { path: path.clone(), source })?;
        let kept = if there { read::<L>(&path)? } else { Vec::new() };
        write_whole(&path, |out| kept.iter().filter(|line| line.step() <= step).try_for_each(|line| put(out, line)))
            .map_err(|error| not_written(&path, error))?;
        let file = OpenOptions::new().append(true).open(&path);
        Self::over(path, file)
    }

    fn over(path: PathBuf, file: io::Result<File>) -> Result<Self, TrainError> {
        match file {
            Ok(file) => Ok(Self { path, file, line: PhantomData }),
            Err(source) => Err(TrainError::Write { path, source }),
        }
    }

    /// Appends a line and hands it to the system at once, so that a kill costs at most the line being written.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn append(&mut self, line: &L) -> Result<(), TrainError> {
        let mut bytes = Vec::new();
        put(&mut bytes, line)
            .and_then(|()| self.file.write_all(&bytes))
            .and_then(|()| self.file.flush())
            .map_err(|source| TrainError::Write { path: self.path.clone(), source })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn put<L: Line>(out: &mut (impl io::Write + ?Sized), line: &L) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Reads `metrics.jsonl`. A last line without its end is left out where it cannot be read: a kill left it so.
///
/// # Errors
/// [`TrainError::Read`], and [`TrainError::Line`] naming the line that is not a [`MetricLine`].
pub fn read_metrics(path: &Path) -> Result<Vec<MetricLine>, TrainError> {
    read(path)
}

/// Reads `evaluations.jsonl`, in the same way.
///
/// # Errors
/// As [`read_metrics`], for an [`EvaluationLine`].
pub fn read_evaluations(path: &Path) -> Result<Vec<EvaluationLine>, TrainError> {
    read(path)
}

fn read<L: Line>(path: &Path) -> Result<Vec<L>, TrainError> {
    let bytes = fs::read(path).map_err(|source| TrainError::Read { path: path.to_owned(), source })?;
    let mut lines = Vec::new();
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(line) => lines.push(line),
            // Only the last one can lack its end.
            Err(_) if !line.ends_with(b"\n") => break,
            Err(source) => return Err(TrainError::Line { path: path.to_owned(), line: index + 1, source }),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64, loss: f64) -> MetricLine {
        let extras = BTreeMap::from([("ge2e.w".to_string(), 10.0 + 0.1), ("ge2e.b".to_string(), -5.0)]);
        MetricLine {
            step,
            loss,
            rate: 0.01,
            gradient_norm: 1.0 / 3.0,
            seconds: 0.25,
            frames_per_second: 51_234.567,
            extras,
        }
    }

    fn steps(path: &Path) -> Vec<u64> {
        read_metrics(path).expect("readable").iter().map(|line| line.step).collect()
    }

    #[test]
    fn what_is_appended_is_read_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(folder.path()).unwrap();
        let lines = [line(1, 27.72), line(2, f64::MIN_POSITIVE), line(3, f64::INFINITY), line(4, 0.1 + 0.2)];
        for line in &lines {
            log.append(line).unwrap();
            // Flushed: there before the log is dropped.
            assert_eq!(steps(log.path()).last(), Some(&line.step));
        }
        assert_eq!(read_metrics(log.path()).unwrap(), lines);
        assert!(matches!(MetricsLog::create(folder.path()), Err(TrainError::Write { .. })), "a run is not begun twice");
    }

    #[test]
    fn a_loss_that_is_not_a_number_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(folder.path()).unwrap();
        log.append(&line(1, f64::NAN)).unwrap();
        log.append(&line(2, f64::NEG_INFINITY)).unwrap();
        let lines = read_metrics(log.path()).unwrap();
        assert!(lines[0].loss.is_nan());
        assert_eq!(lines[1].loss, f64::NEG_INFINITY);
        let text = fs::read_to_string(log.path()).unwrap();
        assert!(text.contains(r#""loss":"NaN""#) && text.contains(r#""loss":"-inf""#), "{text}");
    }

    #[test]
    fn a_resumed_run_drops_what_lies_beyond_its_step() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(folder.path()).unwrap();
        for step in 1..=5 {
            log.append(&line(step, 1.0)).unwrap();
        }
        let mut log = MetricsLog::resume(folder.path(), 3).unwrap();
        assert_eq!(steps(log.path()), [1, 2, 3]);
        log.append(&line(4, 2.0)).unwrap();
        assert_eq!(steps(log.path()), [1, 2, 3, 4]);
        assert_eq!(MetricsLog::resume(folder.path(), 0).map(|log| steps(log.path())).unwrap(), [0_u64; 0]);
    }

    #[test]
    fn a_resumed_run_begins_a_file_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let log = EvaluationLog::resume(folder.path(), 7).unwrap();
        assert_eq!(read_evaluations(log.path()).unwrap(), []);
    }

    #[test]
    fn a_torn_last_line_is_left_out_wherever_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(folder.path()).unwrap();
        log.append(&line(1, 1.0)).unwrap();
        let whole = fs::read(log.path()).unwrap();
        for cut in 0..whole.len() {
            fs::write(log.path(), [&whole, &whole[..cut]].concat()).unwrap();
            // Only where nothing but the line's end is missing is it whole.
            let want: &[u64] = if cut + 1 == whole.len() { &[1, 1] } else { &[1] };
            assert_eq!(steps(log.path()), want, "cut after {cut} bytes");
            let mut resumed = MetricsLog::resume(folder.path(), 1).unwrap();
            resumed.append(&line(2, 1.0)).unwrap();
            assert_eq!(steps(log.path()).last(), Some(&2), "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::create(folder.path()).unwrap();
        log.append(&line(1, 1.0)).unwrap();
        let good = fs::read_to_string(log.path()).unwrap();
        for bad in ["{\n", "\n", "[]\n", "{\"step\":1}\n", "\u{0}\n", &good.replace("rate", "rato"), "\u{ff}x\n"] {
            fs::write(log.path(), format!("{good}{bad}{good}")).unwrap();
            let error = read_metrics(log.path()).expect_err("line 2 is bad");
            assert!(matches!(error, TrainError::Line { line: 2, .. }), "{error}");
            assert!(error.to_string().contains("metrics.jsonl: line 2"), "{error}");
        }
        assert!(matches!(read_metrics(&folder.path().join("none")), Err(TrainError::Read { .. })));
    }

    #[test]
    fn evaluations_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EvaluationLog::create(folder.path()).unwrap();
        let line = EvaluationLine {
            step: 0,
            list: "held-out".to_string(),
            eer: 0.421,
            eer_interval: Some([0.4, 0.45]),
            min_dcf: 1.0,
            threshold: f64::INFINITY,
            trials: 4000,
            targets: 400,
        };
        log.append(&line).unwrap();
        log.append(&EvaluationLine { step: 10, eer_interval: None, ..line.clone() }).unwrap();
        let lines = read_evaluations(log.path()).unwrap();
        assert_eq!((lines.len(), &lines[0]), (2, &line));
        assert_eq!(lines[1].eer_interval, None);
    }
}
