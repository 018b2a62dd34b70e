//! The residual networks of Heo et al. 2019 that are measured, with weights that other systems make of the same numbers: what
//! `benches/peers/resnet_onnx.py` and `benches/peers/resnet_training.py` draw as well.

use std::collections::BTreeMap;

use sv_models::EncoderConfig;
use sv_models::encoders::resnet::ResNetConfig;
use sv_models::weights::Weight;

use crate::workload::noise;

/// Frames that are embedded: three seconds.
pub const FRAMES: usize = 300;

/// The network of this name: `table1` or `table3`.
#[must_use]
pub fn network(name: &str) -> Option<ResNetConfig> {
    match name {
        "table1" => Some(ResNetConfig::heo_table1()),
        "table3" => Some(ResNetConfig::heo_table3()),
        _ => None,
    }
}

/// Tensors of a network: batch norms that change nothing at first; all others of magnitude up to 1 / sqrt(inputs), drawn from
/// the CRC-32 of their name.
#[must_use]
pub fn tensors(config: &EncoderConfig) -> BTreeMap<String, Weight> {
    let shapes = config.tensors();
    let one = |(name, shape): (&String, &Vec<usize>)| {
        let count = shape.iter().product();
        let layer = name.rsplit_once('.').map_or("", |(layer, _)| layer);
        let values = if shapes.contains_key(&format!("{layer}.running_mean")) {
            vec![if name.ends_with("weight") || name.ends_with("running_var") { 1.0 } else { 0.0 }; count]
        } else {
            let inputs: usize = if shape.len() > 1 { shape[1..].iter().product() } else { 64 };
            noise(u64::from(crc32(name.as_bytes())), count, 1.0 / (inputs as f32).sqrt())
        };
        (name.clone(), Weight { shape: shape.clone(), values })
    };
    shapes.iter().map(one).collect()
}

/// CRC-32 as zlib has it: a seed for a name that Python makes as well.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// The process's largest memory so far in bytes, and the seconds that it has used of the processor, where Linux says them.
#[must_use]
pub fn used() -> (f64, f64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let status = read("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let peak = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok()).unwrap_or_default();
    let stat = read("stat");
    // Fields 14 and 15 after the name in brackets: hundredths of a second of user and system time.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    (1024.0 * peak, ticks / 100.0)
}
