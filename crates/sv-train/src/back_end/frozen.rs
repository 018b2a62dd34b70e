//! Training recordings as the finished encoder embeds them, kept beside the run.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use sv_audio::frontend::FeatureExtractor;
use sv_models::checkpoint::write_whole;
use sv_models::{ModelDir, Plan};

use super::BackEndConfig;
use crate::data::{Entry, Manifest};
use crate::error::not_written;
use crate::evaluate::Reader;
use crate::session::Watcher;
use crate::{Purpose, Recipe, Stream, TrainError};

/// Names in the file: the embeddings (n, D), and the fingerprint and the list that they are of.
const VALUES: &str = "embeddings";
const OF: &str = "of";

/// The embeddings of the training's speakers.
#[derive(Debug)]
pub(super) struct Frozen {
    /// D.
    pub(super) size: usize,
    /// (n, D), row-major.
    values: Vec<f32>,
    /// The rows of each speaker who has two or more.
    speakers: Vec<Vec<usize>>,
}

impl Frozen {
    /// Reads them from `path` if they are of `model` and of these recordings, else embeds them and writes them there.
    pub(super) fn find<W: Watcher + Sync>(
        path: &Path,
        model: &ModelDir,
        recipe: &Recipe,
        config: &BackEndConfig,
        train: &Manifest,
        extractor: &FeatureExtractor,
        watcher: &W,
    ) -> Result<Self, TrainError> {
        let chosen = choose(train, config.training().utterances, recipe.seed);
        let size = model.description().embedding_size;
        let mut speakers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, entry) in chosen.iter().enumerate() {
            speakers.entry(&entry.speaker).or_default().push(row);
        }
        let speakers: Vec<Vec<usize>> = speakers.into_values().filter(|rows| rows.len() >= 2).collect();
        if speakers.len() < 2 {
            return Err(TrainError::Pairs { speakers: speakers.len() });
        }
        let of = format!("{} {} recordings, seed {}", model.fingerprint(), chosen.len(), recipe.seed);
        if let Some(values) = read(path, &of, chosen.len() * size) {
            return Ok(Self { size, values, speakers });
        }
        let plan = Plan::new(&model.description().encoder, model.weights())?;
        let recordings: Vec<_> = chosen.iter().map(|entry| &entry.recording).collect();
        let reader = Reader { root: &train.root, extractor, windows: &recipe.evaluation.windows };
        let embedded = reader.embed(&recordings, &[&plan], |done| watcher.preparing(done, chosen.len()))?;
        let values: Vec<f32> = embedded.into_iter().flatten().collect();
        write(path, &of, &values, size)?;
        Ok(Self { size, values, speakers })
    }

    /// Embeddings (n, D) that were made elsewhere, and the rows of each speaker.
    #[cfg(test)]
    pub(super) fn of(size: usize, values: Vec<f32>, speakers: Vec<Vec<usize>>) -> Self {
        Self { size, values, speakers }
    }

    /// The rows of each speaker who has two or more.
    pub(super) fn speakers(&self) -> &[Vec<usize>] {
        &self.speakers
    }

    /// Rows of the embeddings, (count, D).
    pub(super) fn rows(&self, rows: &[usize]) -> Result<Tensor, TrainError> {
        let values: Vec<f32> =
            rows.iter().flat_map(|row| &self.values[row * self.size..(row + 1) * self.size]).copied().collect();
        Ok(Tensor::from_vec(values, (rows.len(), self.size), &Device::Cpu)?)
    }
}

/// Of each speaker at most so many recordings, drawn by the seed, in the manifest's order.
fn choose(train: &Manifest, most: usize, seed: u64) -> Vec<&Entry> {
    let mut of_speaker: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, entry) in train.entries.iter().enumerate() {
        of_speaker.entry(&entry.speaker).or_default().push(place);
    }
    let mut places = Vec::new();
    for (number, all) in of_speaker.into_values().enumerate() {
        let mut stream = Stream::new(seed, Purpose::BackEnd, 0, number as u64);
        places.extend(stream.distinct(all.len(), most).into_iter().map(|place| all[place]));
    }
    places.sort_unstable();
    places.into_iter().map(|place| &train.entries[place]).collect()
}

/// What is there, if it is what is asked for; whatever else is there is made again.
fn read(path: &Path, of: &str, count: usize) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).ok()?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).ok()?;
    if header.metadata().as_ref()?.get(OF)? != of {
        return None;
    }
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).ok()?;
    let values = tensors.get(VALUES)?.flatten_all().ok()?.to_vec1::<f32>().ok()?;
    (values.len() == count && values.iter().all(|value| value.is_finite())).then_some(values)
}

fn write(path: &Path, of: &str, values: &[f32], size: usize) -> Result<(), TrainError> {
    let refused = |source| TrainError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    let tensor = Tensor::from_slice(values, (values.len() / size, size), &Device::Cpu)?;
    let about = std::collections::HashMap::from([(OF.to_owned(), of.to_owned())]);
    let bytes = safetensors::serialize([(VALUES, tensor)], Some(about))
        .map_err(|source| refused(std::io::Error::other(source)))?;
    write_whole(path, |out| out.write_all(&bytes)).map_err(|error| not_written(path, error))
}
