//! Floats in JSON, those among them that JSON has no word for: a diverged run is logged and read back like any other.
//!
//! Finite values are JSON numbers; the others are the strings `"NaN"`, `"inf"` and `"-inf"`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One value, as it stands in the file.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value => serializer.serialize_str(if value > 0.0 { "inf" } else { "-inf" }),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Number(f64),
    Word(Word),
}

#[derive(Deserialize)]
enum Word {
    #[serde(rename = "NaN")]
    NotANumber,
    #[serde(rename = "inf")]
    Infinity,
    #[serde(rename = "-inf")]
    MinusInfinity,
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Stored::deserialize(deserializer)? {
            Stored::Number(value) => value,
            Stored::Word(Word::NotANumber) => f64::NAN,
            Stored::Word(Word::Infinity) => f64::INFINITY,
            Stored::Word(Word::MinusInfinity) => f64::NEG_INFINITY,
        }))
    }
}

pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Number(*value).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Number::deserialize(deserializer).map(|number| number.0)
}

/// The same for values by name.
pub(super) mod map {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(values: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(values.iter().map(|(name, &value)| (name, Number(value))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
        let values = BTreeMap::<String, Number>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|(name, number)| (name, number.0)).collect())
    }
}

/// The same for rows of values.
pub(super) mod rows {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(rows: &[Vec<f64>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rows.iter().map(|row| row.iter().map(|&value| Number(value)).collect::<Vec<_>>()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<f64>>, D::Error> {
        let rows = Vec::<Vec<Number>>::deserialize(deserializer)?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(|number| number.0).collect()).collect())
    }
}
