//! The x-vector network.

use super::layers::{Map, batch_norm, conv1d, linear, statistics};
use crate::encoders::ecapa::{Deviation, Divisor, Floor};
use crate::encoders::xvector::XVectorConfig;
use crate::weights::Weights;

pub(super) fn embed(
    config: &XVectorConfig,
    weights: &Weights,
    features: &Map,
    tap: &mut dyn FnMut(&str, &[f64]),
) -> Vec<f64> {
    let mut x = features.clone();
    for (block, &dilation) in config.dilations.iter().enumerate() {
        let name = format!("blocks.{block}");
        x = conv1d(weights, &format!("{name}.conv"), &x, dilation, config.padding());
        x = x.each(|value| if value < 0.0 { XVectorConfig::SLOPE * value } else { value });
        batch_norm(weights, &format!("{name}.norm"), &mut x.values);
        tap(&name, &x.values);
    }
    let plain = Deviation { divisor: Divisor::Sample, floor: Floor::AtLeast(0.0) };
    let mut pooled = statistics(&x, plain);
    pooled[x.channels..].iter_mut().for_each(|deviation| *deviation += XVectorConfig::DEVIATION_OFFSET);
    tap("pool", &pooled);
    linear(weights, "embedding", &pooled)
}
