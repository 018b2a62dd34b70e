//! Every number that says how far voices and takes lie apart. The defaults are what ships, one column a corpus.

use super::Corpus;
use crate::AudioError;

macro_rules! settings {
    ($($(#[$doc:meta])+ $name:ident: $dependent:literal, $independent:literal, $low:literal..=$high:literal;)+) => {
        /// How speakers differ from each other and recordings of one speaker among themselves.
        ///
        /// Deviations are of the natural logarithm unless a unit says otherwise: 0.16 is about 16 %.
        /// [`SynthConfig::new`] gives the shipped values; only these have the figures of `docs/synthesised-voices.md`.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct SynthConfig {
            /// Fixed phrase or random ones.
            pub corpus: Corpus,
            $($(#[$doc])+ pub $name: f64,)+
        }

        impl SynthConfig {
            /// Names of the settings, in the order of the fields.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// The shipped configuration of a corpus.
            #[must_use]
            pub fn new(corpus: Corpus) -> Self {
                match corpus {
                    Corpus::TextDependent => Self { corpus, $($name: $dependent,)+ },
                    Corpus::TextIndependent => Self { corpus, $($name: $independent,)+ },
                }
            }

            /// Checks every setting against its range.
            ///
            /// # Errors
            /// [`AudioError::SynthSetting`] names the first that is out of its range or NaN.
            pub fn check(&self) -> Result<(), AudioError> {
                $(if !($low..=$high).contains(&self.$name) {
                    return Err(AudioError::SynthSetting {
                        name: stringify!($name), value: self.$name, low: $low, high: $high,
                    });
                })+
                Ok(())
            }

            /// Least and greatest value of a setting; `None` if there is none of that name.
            #[must_use]
            pub fn range(name: &str) -> Option<(f64, f64)> {
                match name {
                    $(stringify!($name) => Some(($low, $high)),)+
                    _ => None,
                }
            }

            /// A setting by name, for tools that try other values; `None` if there is none of that name.
            pub fn get_mut(&mut self, name: &str) -> Option<&mut f64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)+
                    _ => None,
                }
            }
        }
    };
}

settings! {
    // name: fixed phrase, random phrases, range; of speakers first.
    /// Spread of the median pitch around 118 and 205 Hz.
    pitch: 0.16, 0.28, 0.0..=1.0;
    /// Spread of the length of the vocal tract, as a factor on all formants, around 1 and 1.15.
    tract: 0.07, 0.13, 0.0..=0.5;
    /// Spread of each of the three upper formants, F4 to F6.
    upper_formants: 0.07, 0.12, 0.0..=0.5;
    /// Spread of how far vowels lie from the centre, each of F1 to F3.
    vowel_space: 0.15, 0.20, 0.0..=1.0;
    /// Habit: spread of a formant of a phone.
    phone_formant: 0.16, 0.06, 0.0..=0.5;
    /// Habit: spread of the length of a phone.
    phone_length: 0.45, 0.18, 0.0..=1.0;
    /// Habit: spread of the level of a phone.
    phone_level: 0.50, 0.10, 0.0..=1.0;
    /// Spread of the centre of a phone's friction noise.
    friction_centre: 0.10, 0.10, 0.0..=0.5;
    /// Spread of the level of a phone's friction noise.
    friction_level: 0.30, 0.30, 0.0..=1.0;
    /// Spread of the speaking rate.
    rate: 0.13, 0.20, 0.0..=0.5;
    /// Spread of each formant's bandwidth.
    bandwidth: 0.18, 0.30, 0.0..=1.0;
    /// Least strength of pitch accents (log pitch).
    accent_low: 0.04, 0.0, 0.0..=1.0;
    /// Greatest strength of pitch accents (log pitch).
    accent_high: 0.25, 0.30, 0.0..=1.0;
    /// Habit of a fixed phrase: spread of the accent of each of its vowels (log pitch).
    phrase_accent: 0.20, 0.0, 0.0..=1.0;

    /// Of takes: spread of the pitch.
    take_pitch: 0.04, 0.03, 0.0..=1.0;
    /// Spread of the rate.
    take_rate: 0.04, 0.06, 0.0..=0.5;
    /// Spread of the length of each token.
    take_length: 0.04, 0.08, 0.0..=0.5;
    /// Spread of each formant of each token.
    take_formant: 0.01, 0.015, 0.0..=0.5;
    /// Spread of the level of each token.
    take_level: 0.10, 0.10, 0.0..=0.5;
    /// Share of a random phrase's syllables that a pause comes before.
    pause: 0.0, 0.3, 0.0..=1.0;
    /// Longest of these pauses, in ms; the shortest lasts 80.
    pause_ms: 300.0, 300.0, 80.0..=1_000.0;
    /// Spread of the length of the vocal tract.
    take_tract: 0.01, 0.01, 0.0..=0.5;
    /// Spread of the corner of the glottal tilt.
    take_tilt: 0.15, 0.15, 0.0..=1.0;
    /// Deviation of the open quotient.
    take_open: 0.03, 0.03, 0.0..=0.2;

    /// Of channels: number of equaliser peaks.
    peaks: 6.0, 6.0, 0.0..=32.0;
    /// Deviation of a peak's gain in dB.
    peak_db: 5.0, 1.2, 0.0..=20.0;
    /// Deviation of the spectral tilt in dB at each end.
    tilt_db: 2.5, 0.7, 0.0..=20.0;
    /// Least energy of the direct sound over the room's, in dB.
    direct_low_db: 10.0, 10.0, -10.0..=60.0;
    /// Greatest energy of the direct sound over the room's, in dB.
    direct_high_db: 20.0, 20.0, -10.0..=60.0;
    /// Least signal-to-noise ratio in dB.
    noise_low_db: 15.0, 20.0, -10.0..=90.0;
    /// Greatest signal-to-noise ratio in dB.
    noise_high_db: 30.0, 40.0, -10.0..=90.0;
    /// Deviation of the gains that colour the noise, in dB.
    noise_peak_db: 5.0, 5.0, 0.0..=20.0;
    /// Deviation of the level of a recording in dB.
    level_db: 3.0, 3.0, 0.0..=20.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configurations_are_in_range() {
        for corpus in [Corpus::TextDependent, Corpus::TextIndependent] {
            SynthConfig::new(corpus).check().unwrap();
        }
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        for value in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            let mut config = SynthConfig::new(Corpus::TextDependent);
            *config.get_mut("pitch").unwrap() = value;
            assert!(matches!(config.check(), Err(AudioError::SynthSetting { name: "pitch", .. })), "{value}");
        }
    }

    #[test]
    fn every_name_reaches_its_setting() {
        let mut config = SynthConfig::new(Corpus::TextIndependent);
        for name in SynthConfig::NAMES {
            assert!(config.get_mut(name).is_some(), "{name}");
        }
        assert!(config.get_mut("corpus").is_none());
    }
}
