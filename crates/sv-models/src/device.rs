//! Where a network is computed.

use std::fmt;
use std::str::FromStr;

use crate::ModelError;

/// A processor to compute on, by its usual name: `cpu`, `cuda:0`, `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// This machine's processor, by this project's own kernels.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number, from 0 (feature `cuda`).
    Cuda(usize),
    /// An Apple GPU by its number, from 0 (feature `metal`).
    Metal(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

/// A name that no device has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no device is called `{0}`; known are cpu, cuda, cuda:N, metal, metal:N, N from 0")]
pub struct NotADevice(String);

impl FromStr for Device {
    type Err = NotADevice;

    /// A kind alone is its first device; PyTorch's `mps` is `metal`.
    fn from_str(name: &str) -> Result<Self, NotADevice> {
        let unknown = || NotADevice(name.chars().take(40).collect());
        let (kind, number) = match name.split_once(':') {
            Some((kind, number)) => (kind, number.parse::<u16>().map_err(|_| unknown())?.into()),
            None => (name, 0),
        };
        match kind {
            "cpu" if number == 0 => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(number)),
            "metal" | "mps" => Ok(Self::Metal(number)),
            _ => Err(unknown()),
        }
    }
}

impl Device {
    /// The cargo feature that a build needs for it; none for the CPU.
    #[must_use]
    pub fn feature(&self) -> Option<&'static str> {
        match self {
            Self::Cpu => None,
            Self::Cuda(_) => Some("cuda"),
            Self::Metal(_) => Some("metal"),
        }
    }

    /// Refuses a device that this build cannot use.
    ///
    /// # Errors
    /// [`ModelError::DeviceNotBuilt`] names the feature.
    pub fn check(&self) -> Result<(), ModelError> {
        let built = match self {
            Self::Cpu => true,
            Self::Cuda(_) => cfg!(feature = "cuda"),
            Self::Metal(_) => cfg!(feature = "metal"),
        };
        match self.feature() {
            Some(feature) if !built => Err(ModelError::DeviceNotBuilt { device: *self, feature }),
            _ => Ok(()),
        }
    }

    /// The device as candle has it.
    ///
    /// # Errors
    /// [`ModelError::DeviceNotBuilt`]; [`ModelError::DeviceNotFound`] if there is none of that number, or no driver.
    #[cfg(feature = "train")]
    pub fn open(&self) -> Result<candle_core::Device, ModelError> {
        self.check()?;
        let opened = match *self {
            Self::Cpu => Ok(candle_core::Device::Cpu),
            Self::Cuda(number) => candle_core::Device::new_cuda(number),
            Self::Metal(number) => candle_core::Device::new_metal(number),
        };
        opened.map_err(|source| ModelError::DeviceNotFound { device: *self, source: Box::new(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (name, device) in [
            ("cpu", Device::Cpu),
            ("cuda", Device::Cuda(0)),
            ("cuda:3", Device::Cuda(3)),
            ("metal", Device::Metal(0)),
            ("mps", Device::Metal(0)),
        ] {
            assert_eq!(name.parse(), Ok(device));
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:1", "CPU", "cuda:99999999999999999999"] {
            assert!(name.parse::<Device>().is_err(), "{name}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_of_another_build_names_its_feature() {
        let error = Device::Cuda(0).check().unwrap_err();
        assert!(matches!(error, ModelError::DeviceNotBuilt { device: Device::Cuda(0), feature: "cuda" }));
        assert!(error.to_string().contains("cuda:0") && error.to_string().contains("`cuda`"), "{error}");
        assert!(Device::Cpu.check().is_ok());
    }
}
