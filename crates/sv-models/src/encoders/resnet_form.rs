//! In what the definitions of residual networks differ: [`ResNetForm`].

use serde::{Deserialize, Serialize};

use super::BATCH_NORM_EPSILON;
use crate::ModelError;

/// Whose residual network.
///
/// | point | `Wespeaker` | `Heo` |
/// |---|---|---|
/// | axes of a kernel | frequency, time | time, frequency |
/// | stem | 3x3, stride 1 | 7x7, a stride for each axis |
/// | padding of a kernel of k | k / 2 on each side | the same, or Keras's `same` |
/// | activation | ReLU | leaky ReLU |
/// | batch norm: epsilon, share of a new batch | 1e-5, 0.1 | Keras's 1e-3, 0.01 |
/// | pooling | mean, and root of the variance (over n - 1) plus 1e-7, over time | mean over time and frequency |
/// | after it | linear | nothing, or linear |
///
/// # Source
/// wespeaker `models/resnet.py` and `models/pooling_layers.py` (`TSTP`). Heo et al. 2019, Tables 1 and 3; what they leave open is
/// decided as their toolkit, Keras, has it by default, with blocks 3, 4, 6, 3, a batch norm after each convolution and a 1x1
/// convolution as the shortcut where shapes change (He et al. 2016, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ResNetForm {
    /// WeSpeaker's, basic blocks, one embedding layer.
    Wespeaker,
    /// That of Heo et al. 2019.
    Heo(HeoForm),
}

/// What the networks of Heo et al. 2019 differ in among themselves, and what the paper does not say. The default is Table 1
/// with Keras's constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeoForm {
    /// Steps of the stem along time and frequency, each from 1 to 8: `[1, 1]` in Table 1, `[1, 2]` in Table 3.
    pub stem_stride: [usize; 2],
    /// What follows the pooling.
    pub head: ResNetHead,
    /// What stands around the image of a convolution.
    pub padding: ImagePadding,
    /// Factor of what is below 0, from 0 to 1.
    pub slope: f64,
    /// Added to a batch norm's variance under the root; above 0.
    pub epsilon: f64,
    /// Share of a new batch in the running averages, above 0 and at most 1 (Keras calls 1 minus it the momentum).
    pub momentum: f64,
}

impl Default for HeoForm {
    fn default() -> Self {
        Self {
            stem_stride: [1, 1],
            head: ResNetHead::Pooled,
            padding: ImagePadding::Half,
            slope: 0.3,
            epsilon: 1e-3,
            momentum: 0.01,
        }
    }
}

/// What makes the embedding of the pooled values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResNetHead {
    /// They are the embedding.
    Pooled,
    /// A linear layer with bias.
    Linear,
}

/// How many zeros stand before and after an image along one axis. Either way n values become n over the stride, rounded up, as
/// kernels are odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImagePadding {
    /// Half the kernel, rounded down, on both sides (PyTorch).
    Half,
    /// As many as the last output needs, the odd one after (Keras's `same`).
    Same,
}

impl ImagePadding {
    /// Zeros before and after `size` values along an axis of a convolution.
    #[must_use]
    pub fn sides(self, size: usize, kernel: usize, stride: usize) -> [usize; 2] {
        match self {
            Self::Half => [kernel / 2; 2],
            Self::Same => {
                let reach = (size.div_ceil(stride.max(1)).saturating_sub(1) * stride + kernel).saturating_sub(size);
                [reach / 2, reach - reach / 2]
            }
        }
    }
}

/// In what order a kernel's two axes stand in its tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// (O, I, frequency, time)
    FrequencyTime,
    /// (O, I, time, frequency)
    TimeFrequency,
}

/// What is made of the last stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pooling {
    /// Mean and deviation over time of each channel and bin.
    Tstp {
        /// Added to the variance under the root.
        variance_offset: f64,
    },
    /// Mean over time and frequency of each channel.
    Average,
}

impl ResNetForm {
    /// Taps of the stem along either axis.
    #[must_use]
    pub fn stem_kernel(self) -> usize {
        match self {
            Self::Wespeaker => 3,
            Self::Heo(_) => 7,
        }
    }

    /// Steps of the stem along time and frequency.
    #[must_use]
    pub fn stem_stride(self) -> [usize; 2] {
        match self {
            Self::Wespeaker => [1, 1],
            Self::Heo(form) => form.stem_stride,
        }
    }

    /// Order of a kernel's axes.
    #[must_use]
    pub fn axes(self) -> Axes {
        match self {
            Self::Wespeaker => Axes::FrequencyTime,
            Self::Heo(_) => Axes::TimeFrequency,
        }
    }

    /// What stands around the image of a convolution.
    #[must_use]
    pub fn padding(self) -> ImagePadding {
        match self {
            Self::Wespeaker => ImagePadding::Half,
            Self::Heo(form) => form.padding,
        }
    }

    /// Factor of what is below 0: none for a ReLU.
    #[must_use]
    pub fn slope(self) -> f64 {
        match self {
            Self::Wespeaker => 0.0,
            Self::Heo(form) => form.slope,
        }
    }

    /// Added to a batch norm's variance under the root.
    #[must_use]
    pub fn epsilon(self) -> f64 {
        match self {
            Self::Wespeaker => BATCH_NORM_EPSILON,
            Self::Heo(form) => form.epsilon,
        }
    }

    /// Share of a new batch in the running averages.
    #[must_use]
    pub fn momentum(self) -> f64 {
        match self {
            Self::Wespeaker => 0.1,
            Self::Heo(form) => form.momentum,
        }
    }

    /// What is made of the last stage.
    #[must_use]
    pub fn pooling(self) -> Pooling {
        match self {
            Self::Wespeaker => Pooling::Tstp { variance_offset: 1e-7 },
            Self::Heo(_) => Pooling::Average,
        }
    }

    /// Whether a linear layer follows the pooling.
    #[must_use]
    pub fn has_linear_head(self) -> bool {
        match self {
            Self::Wespeaker => true,
            Self::Heo(form) => form.head == ResNetHead::Linear,
        }
    }

    /// Checks the constants, which may come from a file.
    pub(super) fn validate(self) -> Result<(), ModelError> {
        let Self::Heo(form) = self else { return Ok(()) };
        let refused = |key, got: String, need: &str| Err(ModelError::Config { key, got, need: need.to_owned() });
        if !form.stem_stride.iter().all(|stride| (1..=8).contains(stride)) {
            return refused(
                "encoder.form.heo.stem_stride",
                format!("{:?}", form.stem_stride),
                "two numbers from 1 to 8",
            );
        }
        if !(0.0..=1.0).contains(&form.slope) {
            return refused("encoder.form.heo.slope", form.slope.to_string(), "from 0 to 1");
        }
        if !(form.epsilon > 0.0 && form.epsilon <= 1.0) {
            return refused("encoder.form.heo.epsilon", form.epsilon.to_string(), "above 0 and at most 1");
        }
        if !(form.momentum > 0.0 && form.momentum <= 1.0) {
            return refused("encoder.form.heo.momentum", form.momentum.to_string(), "above 0 and at most 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keras_pads_the_odd_zero_after() {
        // 8 frames, every second one, 3 taps: the last of 4 outputs sees frames 6, 7 and one zero.
        assert_eq!(ImagePadding::Same.sides(8, 3, 2), [0, 1]);
        assert_eq!(ImagePadding::Same.sides(9, 3, 2), [1, 1]);
        assert_eq!(ImagePadding::Same.sides(64, 7, 2), [2, 3]);
        assert_eq!(ImagePadding::Same.sides(64, 7, 1), [3, 3]);
        // With one tap every second frame nothing reaches beyond the end.
        assert_eq!(ImagePadding::Same.sides(8, 1, 2), [0, 0]);
        assert_eq!(ImagePadding::Half.sides(8, 7, 2), [3, 3]);
        assert_eq!(ImagePadding::Half.sides(8, 1, 2), [0, 0]);
    }

    #[test]
    fn constants_out_of_range_are_refused_by_name() {
        let sound = HeoForm::default();
        assert!(ResNetForm::Heo(sound).validate().is_ok());
        for (form, name) in [
            (HeoForm { stem_stride: [0, 1], ..sound }, "stem_stride"),
            (HeoForm { stem_stride: [1, 9], ..sound }, "stem_stride"),
            (HeoForm { slope: -0.1, ..sound }, "slope"),
            (HeoForm { slope: f64::NAN, ..sound }, "slope"),
            (HeoForm { epsilon: 0.0, ..sound }, "epsilon"),
            (HeoForm { epsilon: f64::NAN, ..sound }, "epsilon"),
            (HeoForm { momentum: 0.0, ..sound }, "momentum"),
            (HeoForm { momentum: f64::INFINITY, ..sound }, "momentum"),
        ] {
            let result = ResNetForm::Heo(form).validate();
            assert!(matches!(result, Err(ModelError::Config { key, .. }) if key.ends_with(name)), "{form:?}");
        }
    }
}
