//! The kinds of numbers that checkpoints hold.

use std::fmt;

/// What one element of a tensor is. Little-endian in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// IEEE half precision.
    F16,
    /// The upper half of an `F32`.
    BF16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl Dtype {
    /// Bytes an element takes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether it is a floating-point kind.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::BF16)
    }

    /// The name in a safetensors header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F64 => "F64",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    /// The kind of that name in a safetensors header.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F64, Self::F16, Self::BF16, Self::I64, Self::I32, Self::I16, Self::I8, Self::U8, Self::Bool]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }

    /// Elements of this kind as f32 (F64 is rounded), or `None` if it is not a floating-point kind.
    pub(super) fn to_f32(self, bytes: &[u8]) -> Option<Vec<f32>> {
        Some(match self {
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F16 => each(bytes, |b| half_to_f32(u16::from_le_bytes(b))),
            Self::BF16 => each(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            _ => return None,
        })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&element| convert(element)).collect()
}

/// Exact: every half is also a single.
fn half_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 0x1f;
    let fraction = u32::from(half & 0x3ff);
    match exponent {
        // Zero and subnormals: the fraction counts units of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 * f32::from_bits(0x3380_0000)).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        // 15 and 127 are the biases of the two exponents.
        _ => f32::from_bits(sign | ((exponent + 127 - 15) << 23) | (fraction << 13)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_converts_as_its_definition_says() {
        for half in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(half >> 10) & 0x1f, f64::from(half & 0x3ff));
            let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
            let expected = match exponent {
                0 => sign * fraction * (-24_f64).exp2(),
                0x1f if fraction == 0.0 => sign * f64::INFINITY,
                0x1f => f64::NAN,
                _ => sign * (1.0 + fraction / 1024.0) * f64::from(exponent - 15).exp2(),
            };
            let got = half_to_f32(half);
            assert!(f64::from(got) == expected || (got.is_nan() && expected.is_nan()), "{half:#06x}: {got} {expected}");
            assert!(got.is_nan() || got.is_sign_negative() == (half & 0x8000 != 0), "{half:#06x}");
        }
    }

    #[test]
    fn names_and_sizes_are_those_of_safetensors() {
        for (name, size) in [
            ("F32", 4),
            ("F64", 8),
            ("F16", 2),
            ("BF16", 2),
            ("I64", 8),
            ("I32", 4),
            ("I16", 2),
            ("I8", 1),
            ("U8", 1),
            ("BOOL", 1),
        ] {
            let dtype = Dtype::from_name(name).expect(name);
            assert_eq!((dtype.name(), dtype.size()), (name, size));
        }
        assert_eq!(Dtype::from_name("F8_E4M3"), None);
    }

    #[test]
    fn bfloat_is_the_upper_half_of_a_single_and_integers_are_no_floats() {
        assert_eq!(Dtype::BF16.to_f32(&[0xc0, 0x3f]), Some(vec![1.5]));
        assert_eq!(Dtype::F64.to_f32(&0.1_f64.to_le_bytes()), Some(vec![0.1]));
        assert_eq!(Dtype::I64.to_f32(&[0; 8]), None);
    }
}
