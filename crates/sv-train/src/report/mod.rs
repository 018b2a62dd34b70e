//! What a run leaves behind for people: metrics while it runs, Markdown, HTML and plots after.
//!
//! ```text
//! while it runs   MetricsLog, EvaluationLog     metrics.jsonl, evaluations.jsonl: one JSON object a line, flushed line by line
//!                 EventFile                     the same scalars for TensorBoard
//! after           RunSummary                    all that a report shows; TrialSummary::from_scores fills its largest part
//!                 write(&[RunSummary], folder)  report.md, report.html (self-contained), plots/*.svg
//! ```
//!
//! Nothing in here reads a clock: the times that are written are passed in.

mod content;
mod files;
mod html;
mod log;
mod markdown;
mod number;
mod plots;
mod scores;
mod summary;
mod tensorboard;

pub use files::{ReportFiles, write};
pub use log::{EvaluationLine, EvaluationLog, JsonLines, Line, MetricLine, MetricsLog, read_evaluations, read_metrics};
pub use plots::{SpeakerOnPlane, Spread, densities, speakers_on_plane};
pub use summary::{
    Baseline, Corpus, CurvePoint, Histogram, ProgressPoint, ProtocolSummary, PublishedFigure, RunSummary, TrialSummary,
};
pub use tensorboard::EventFile;
