//! Recordings as a model takes them, and as it embeds them.

use std::path::Path;

use ndarray::{Array2, Axis};
use rayon::prelude::*;
use sv_audio::Features;
use sv_audio::frontend::FeatureExtractor;
use sv_audio::windows::{WindowPlan, Windows};
use sv_models::Plan;

use crate::TrainError;
use crate::data::Recording;

/// Recordings whose features [`Reader::embed`] has in memory at a time.
const CHUNK: usize = 64;

/// Utterances ready to be embedded, again and again: features and the windows on them.
#[derive(Debug)]
pub struct Utterances(Vec<(Features, WindowPlan)>);

impl Utterances {
    /// Reads and prepares `recordings`, on all threads of the current pool.
    ///
    /// # Errors
    /// The first that fails, by name: an evaluation with holes is none.
    pub fn read(
        recordings: &[&Recording],
        root: &Path,
        extractor: &FeatureExtractor,
        windows: &Windows,
    ) -> Result<Self, TrainError> {
        let prepared = recordings
            .par_iter()
            .map(|recording| {
                let pieces = || {
                    let wave = extractor.prepare(&recording.load(root)?)?;
                    extractor.pieces(&wave, windows)
                };
                pieces().map_err(|source| TrainError::Recording { name: recording.to_string(), source })
            })
            .collect::<Result<_, TrainError>>()?;
        Ok(Self(prepared))
    }

    /// Number of utterances.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Embeds each: (utterances, D), the windows of each joined as [`Plan::join`] does.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the features are not the plan's.
    pub fn embed(&self, plan: &Plan) -> Result<Array2<f32>, TrainError> {
        let rows = self
            .0
            .par_iter()
            .map(|(features, windows)| {
                let pieces: Vec<_> = windows.cut(features)?.collect();
                let views: Vec<_> = pieces.iter().map(|piece| piece.view()).collect();
                Ok(plan.join(plan.embed(&views)?.view()))
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        let shape = (rows.len(), plan.embedding_size());
        Ok(Array2::from_shape_vec(shape, rows.concat()).expect("D values a row"))
    }
}

/// Reads recordings below a folder as a model takes them.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The folder.
    pub root: &'a Path,
    /// What makes features of samples.
    pub extractor: &'a FeatureExtractor,
    /// What the model is shown of them at a time.
    pub windows: &'a Windows,
}

impl Reader<'_> {
    /// Embeds each recording by each plan: for each plan (recordings, D), rows as [`Utterances::embed`] has them. A recording is
    /// read once, and only so many at a time are in memory: a list of 145,000 files takes no more than its embeddings. `progress`
    /// is told how many are done.
    ///
    /// # Errors
    /// [`TrainError::Recording`] for the first that fails, [`TrainError::Model`] if the features are not a plan's.
    pub fn embed(
        self,
        recordings: &[&Recording],
        plans: &[&Plan],
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<Array2<f32>>, TrainError> {
        let mut embedded: Vec<Array2<f32>> =
            plans.iter().map(|plan| Array2::zeros((0, plan.embedding_size()))).collect();
        for (number, chunk) in recordings.chunks(CHUNK).enumerate() {
            let utterances = Utterances::read(chunk, self.root, self.extractor, self.windows)?;
            for (plan, rows) in plans.iter().zip(&mut embedded) {
                let new = utterances.embed(plan)?;
                rows.append(Axis(0), new.view()).expect("D values a row");
            }
            progress(number * CHUNK + chunk.len());
        }
        Ok(embedded)
    }
}
