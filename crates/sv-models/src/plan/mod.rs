//! An encoder made ready for the CPU: weights packed once, shared by any number of threads.

#[cfg(feature = "train")]
mod device;
mod each;
mod ecapa;
mod layers;
mod lstm;
mod resnet;
mod xvector;

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayView3, Axis};
use sv_kernels::Tier;

use crate::weights::Weights;
use crate::{Device, EncoderConfig, ModelError};

use each::Each;
use ecapa::EcapaPlan;
use lstm::LstmPlan;
use resnet::ResNetPlan;
use xvector::XVectorPlan;

/// A compiled encoder. `Send + Sync`; working memory is kept between calls.
pub struct Plan {
    network: Network,
    bins: usize,
    least_frames: usize,
    embedding_size: usize,
    /// Whether the network scales its embeddings to length one.
    scales: bool,
}

enum Network {
    Lstm(LstmPlan),
    Ecapa(Box<Each<EcapaPlan>>),
    XVector(Box<Each<XVectorPlan>>),
    ResNet(Box<Each<ResNetPlan>>),
    #[cfg(feature = "train")]
    Device(device::DevicePlan),
}

impl Plan {
    /// Packs `weights` of a network of `config` for the best tier of this machine.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] if a kernel refuses the sizes.
    pub fn new(config: &EncoderConfig, weights: &Weights) -> Result<Self, ModelError> {
        Self::on_tier(Tier::detect(), config, weights)
    }

    /// The same for a given tier, for tests and comparisons.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn on_tier(tier: Tier, config: &EncoderConfig, weights: &Weights) -> Result<Self, ModelError> {
        let network = match config {
            EncoderConfig::Lstm(lstm) => Network::Lstm(LstmPlan::new(tier, lstm, weights)?),
            EncoderConfig::Ecapa(ecapa) => Network::Ecapa(Box::new(Each::new(EcapaPlan::new(tier, ecapa, weights)?))),
            EncoderConfig::XVector(xvector) => {
                Network::XVector(Box::new(Each::new(XVectorPlan::new(tier, xvector, weights)?)))
            }
            EncoderConfig::ResNet(resnet) => {
                Network::ResNet(Box::new(Each::new(ResNetPlan::new(tier, resnet, weights)?)))
            }
        };
        Ok(Self::of(config, network))
    }

    /// The same on `device`: on the CPU [`Plan::new`], elsewhere the portable path, composed of candle's operations.
    ///
    /// On a GPU row i is the same to rounding whatever else is in the call, not to the last bit.
    ///
    /// # Errors
    /// [`ModelError::DeviceNotBuilt`] if this build cannot use the device, [`ModelError::DeviceNotFound`] if it is not there; as
    /// [`Plan::new`].
    pub fn on_device(device: Device, config: &EncoderConfig, weights: &Weights) -> Result<Self, ModelError> {
        device.check()?;
        match device {
            Device::Cpu => Self::new(config, weights),
            #[cfg(feature = "train")]
            _ => Self::portable(&device.open()?, config, weights),
            #[cfg(not(feature = "train"))]
            _ => Err(ModelError::DeviceNotBuilt { device, feature: device.feature().unwrap_or("train") }),
        }
    }

    /// The portable path, which GPUs run, on any of candle's devices, for comparisons with it.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if the device fails.
    #[cfg(feature = "train")]
    pub fn portable(
        device: &candle_core::Device,
        config: &EncoderConfig,
        weights: &Weights,
    ) -> Result<Self, ModelError> {
        Ok(Self::of(config, Network::Device(device::DevicePlan::new(config, weights, device.clone())?)))
    }

    fn of(config: &EncoderConfig, network: Network) -> Self {
        Self {
            network,
            bins: config.bins(),
            least_frames: config.least_frames(),
            embedding_size: config.embedding_size(),
            scales: matches!(config, EncoderConfig::Lstm(_)),
        }
    }

    /// D.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        self.embedding_size
    }

    /// Embeds windows of features, each (T, F) with its own T of at least [`EncoderConfig::least_frames`]: one row of the (n, D)
    /// result each.
    ///
    /// Row i depends on window i alone, to the last bit, whatever else is in the call.
    ///
    /// # Errors
    /// [`ModelError::Features`] if a window has fewer frames or another number of bins than the network takes.
    pub fn embed(&self, windows: &[ArrayView2<'_, f32>]) -> Result<Array2<f32>, ModelError> {
        for window in windows {
            if window.nrows() < self.least_frames || window.ncols() != self.bins {
                return Err(ModelError::Features {
                    frames: window.nrows(),
                    bins: window.ncols(),
                    need: self.bins,
                    least: self.least_frames,
                });
            }
        }
        let size = self.embedding_size;
        let mut values = vec![0.0; windows.len() * size];
        match &self.network {
            Network::Lstm(plan) => plan.embed(windows, &mut values)?,
            Network::Ecapa(plan) => plan.embed(windows, &mut values)?,
            Network::XVector(plan) => plan.embed(windows, &mut values)?,
            Network::ResNet(plan) => plan.embed(windows, &mut values)?,
            #[cfg(feature = "train")]
            Network::Device(plan) => plan.embed(windows, &mut values)?,
        }
        Ok(Array2::from_shape_vec((windows.len(), size), values).expect("n rows of D values"))
    }

    /// Embeds the utterances of a padded batch (B, T, F), of which the first `lengths[b]` frames count: one row of the (B, D)
    /// result each, the same to the last bit as the utterance has alone. What stands behind is not looked at.
    ///
    /// # Errors
    /// [`ModelError::Lengths`] unless there is one length a row, none above T; and as [`Plan::embed`].
    pub fn embed_padded(&self, batch: ArrayView3<'_, f32>, lengths: &[usize]) -> Result<Array2<f32>, ModelError> {
        let (rows, frames, _) = batch.dim();
        if lengths.len() != rows || lengths.iter().any(|&length| length > frames) {
            return Err(ModelError::Lengths { rows, frames, got: lengths.to_vec() });
        }
        let windows: Vec<_> =
            batch.outer_iter().zip(lengths).map(|(row, &length)| row.split_at(Axis(0), length).0).collect();
        self.embed(&windows)
    }

    /// Embeds a padded batch (B, T, F) as SpeechBrain does, `shares[b]` of row b being speech, in (0, 1]: (B, D). Padding is let into
    /// the convolutions and kept out of the statistics, so that a row has not quite the embedding that its utterance has alone.
    ///
    /// For comparing with SpeechBrain's own batches; [`Plan::embed_padded`] is what embeds well.
    ///
    /// # Errors
    /// [`ModelError::NotPadded`] for networks that are not SpeechBrain's, [`ModelError::Lengths`] for another number of shares than
    /// rows or one out of range, [`ModelError::Features`] for features of another network or too few frames that count.
    ///
    /// # Source
    /// SpeechBrain 1.0.3, `lobes/models/ECAPA_TDNN.py` and `nnet/pooling.py: StatisticsPooling`.
    pub fn embed_padded_as_speechbrain(
        &self,
        batch: ArrayView3<'_, f32>,
        shares: &[f32],
    ) -> Result<Array2<f32>, ModelError> {
        let (count, frames, bins) = batch.dim();
        if shares.len() != count || shares.iter().any(|&share| !(share > 0.0 && share <= 1.0)) {
            let got = shares.iter().map(|share| (share * frames as f32) as usize).collect();
            return Err(ModelError::Lengths { rows: count, frames, got });
        }
        if bins != self.bins || frames < self.least_frames {
            return Err(ModelError::Features { frames, bins, need: self.bins, least: self.least_frames });
        }
        let rows: Vec<_> = batch.outer_iter().zip(shares.iter().copied()).collect();
        let mut values = vec![0.0; count * self.embedding_size];
        match &self.network {
            Network::Ecapa(plan) => plan.embed_padded(&rows, self.least_frames, &mut values)?,
            Network::XVector(plan) => plan.embed_padded(&rows, self.least_frames, &mut values)?,
            _ => return Err(ModelError::NotPadded),
        }
        Ok(Array2::from_shape_vec((count, self.embedding_size), values).expect("B rows of D values"))
    }

    /// Joins the embeddings of an utterance's windows, (n, D) with n at least 1: their mean, scaled as the network scales
    /// its own output (Resemblyzer's `embed_utterance`; Wan et al. 2017, section 2.3, leaves the second scaling open). Networks
    /// that do not scale give the mean alone.
    ///
    /// The mean of one embedding is that embedding.
    #[must_use]
    pub fn join(&self, embeddings: ArrayView2<'_, f32>) -> Vec<f32> {
        let count = embeddings.nrows() as f64;
        let mean = |column: ArrayView1<'_, f32>| column.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let mut joined: Vec<f32> = embeddings.columns().into_iter().map(|column| mean(column) as f32).collect();
        if embeddings.nrows() > 1 && self.scales {
            to_unit(&mut joined, 0.0);
        }
        joined
    }
}

/// Divides by sqrt(sum x^2 + epsilon), summed in f64; zeros stay zeros.
fn to_unit(row: &mut [f32], epsilon: f64) {
    let square: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let norm = (square + epsilon).sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
}

#[cfg(test)]
mod tests;
